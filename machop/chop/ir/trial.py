"""A trial: one point of a search space and what was measured there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from chop.ir.front import Front

Direction = Literal["maximize", "minimize"]


@dataclass(frozen=True)
class Trial:
    """Trial `number` proposed `point` ({parameter: index of the choice}).

    `repeats` is the number of the earlier trial whose point means the same network: its metrics were answered from
    the log. `failed` says why a trial has no metrics. `seconds` have passed since the trial before it.
    """

    number: int
    point: Mapping[str, int]
    software_metrics: Mapping[str, float]
    hardware_metrics: Mapping[str, float]
    scaled_metrics: Mapping[str, float]
    seconds: float = 0.0
    repeats: int | None = None
    failed: str = ""

    @property
    def metrics(self) -> dict[str, float]:
        """All measured numbers, unscaled."""
        return {**self.software_metrics, **self.hardware_metrics}


@dataclass(frozen=True)
class Objective:
    """What is optimised: a metric, times a scale, in a direction."""

    metric: str
    scale: float = 1.0
    direction: Direction = "maximize"


@dataclass(frozen=True)
class FrontRow:
    """A trial that no other dominates, and the numbers of the other trials with equal objectives."""

    trial: Trial
    equals: tuple[int, ...] = field(default=())


TestMetrics = Mapping[str, tuple[float, float, float]]
"""Scores on the test part: `{name: (value, low, high)}` with the bounds of the 95 % interval."""


@dataclass(frozen=True)
class BestRow:
    """A row of a search's result: a trial, those that equal it, its network and, once measured, its test scores."""

    trial: Trial
    equals: tuple[int, ...]
    sampled_config: Mapping[str, Any]
    test_metrics: TestMetrics | None = None
    equal_points: int = 0
    """How many points equal it that are not listed in `equals`: an enumeration counts them."""


def pareto_front(trials: Sequence[Trial], objectives: Sequence[Objective]) -> list[FrontRow]:
    """The trials that no other dominates, by number; equal ones stand once, under the lowest number.

    Repeated points and failed ones are left out.

    >>> def row(number, a, b):
    ...     return Trial(number, {}, {}, {}, {"a": a, "b": b})
    >>> goals = [Objective("a", direction="maximize"), Objective("b", direction="minimize")]
    >>> [r.trial.number for r in pareto_front([row(0, 1, 1), row(1, 2, 2), row(2, 1, 3), row(3, 2, 2)], goals)]
    [0, 1]
    """
    measured = [trial for trial in trials if trial.repeats is None and not trial.failed]
    if not measured:
        return []
    costs = np.array([_costs(trial, objectives) for trial in measured])
    front = Front.of(costs, np.arange(len(measured)))
    rows = []
    for index, own in sorted(zip(front.index.tolist(), front.costs, strict=True), key=lambda row: row[0]):
        equals = np.flatnonzero((costs == own).all(1)).tolist()
        rows.append(FrontRow(measured[index], tuple(measured[place].number for place in equals[1:])))
    return rows


def _costs(trial: Trial, objectives: Sequence[Objective]) -> tuple[float, ...]:
    """The objectives, turned so that less is better."""
    signs = [1 if objective.direction == "minimize" else -1 for objective in objectives]
    return tuple(sign * trial.scaled_metrics[o.metric] for sign, o in zip(signs, objectives, strict=True))
