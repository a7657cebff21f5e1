"""The goals of a search: objectives, constraints, and optionally a sum in place of a front."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import numpy as np

from chop.record.trial import Objective, Trial
from chop.scoring.metric import Direction

Array = np.ndarray[Any, Any]
SUM = "sum"
"""Stands for the metric's name where the sum of all scaled metrics is optimised."""


@dataclass(frozen=True)
class Constraint:
    """A constraint: `metric` at least (`kind` "min") or at most ("max") `bound`, in `unit`.

    `origin` says how the user put it, where that is not the bound itself; `in_float` is what the FP32 baseline has,
    where the bound was told from that.
    """

    metric: str
    kind: Literal["min", "max"]
    bound: float
    unit: str = ""
    origin: str = ""
    in_float: float | None = None

    def violation(self, value: Any) -> Any:
        """The violation by a value, or an array of them, as a share of the bound; 0 or less: satisfied.

        >>> Constraint("accuracy", "min", 0.5).violation(0.4) > 0 > Constraint("accuracy", "min", 0.5).violation(0.6)
        True
        """
        beyond = self.bound - value if self.kind == "min" else value - self.bound
        return beyond / (abs(self.bound) or 1.0)

    def __str__(self) -> str:
        return f"{self.metric} {'>=' if self.kind == 'min' else '<='} {self.bound:.6g}"

    def explained(self) -> str:
        """The constraint as text, with its unit and its origin.

        >>> Constraint("model_size", "max", 2048.0, "byte", "2 KiB").explained()
        'model_size <= 2048 byte (2 KiB)'
        >>> Constraint("average_bitwidth", "max", 14.0, "bit", "14 bit").explained()
        'average_bitwidth <= 14 bit'
        """
        said = f"{self}{f' {self.unit}' if self.unit else ''}"
        return said if not self.origin or said.endswith(f" {self.origin}") else f"{said} ({self.origin})"


@dataclass(frozen=True)
class Goals:
    """`objectives` make a front, or one sum optimised in `sum_direction`; `constraints` bound metrics.

    Functions take `{metric: value}` or `{metric: array of values}` alike.

    >>> least = Constraint("accuracy", "min", 0.7)
    >>> goals = Goals((Objective("accuracy"), Objective("bits", 0.5, "minimize")), (least,))
    >>> goals.values({"accuracy": 0.75, "bits": 6.0}), goals.is_within({"accuracy": 0.65, "bits": 4.0})
    ((0.75, 3.0), False)
    """

    objectives: tuple[Objective, ...]
    constraints: tuple[Constraint, ...] = ()
    sum_direction: Direction | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the optimised values."""
        return (SUM,) if self.sum_direction else tuple(objective.metric for objective in self.objectives)

    @property
    def metrics(self) -> list[str]:
        """All metrics of objectives and constraints."""
        return list(
            dict.fromkeys(
                [*(o.metric for o in self.objectives), *(constraint.metric for constraint in self.constraints)]
            )
        )

    def in_order(self, order: Sequence[str]) -> Goals:
        """The same goals with the objectives and constraints of metrics in `order` first, in that order.

        >>> Goals((Objective("accuracy"), Objective("bits"))).in_order(["bits", "accuracy"]).metrics
        ['bits', 'accuracy']
        """

        def place(own: Objective | Constraint) -> int:
            return order.index(own.metric) if own.metric in order else len(order)

        sorted_objectives = tuple(sorted(self.objectives, key=place))
        return replace(self, objectives=sorted_objectives, constraints=tuple(sorted(self.constraints, key=place)))

    @property
    def directions(self) -> tuple[Direction, ...]:
        """The direction of each optimised value."""
        return (self.sum_direction,) if self.sum_direction else tuple(o.direction for o in self.objectives)

    def values(self, metrics: Mapping[str, Any]) -> tuple[Any, ...]:
        """One scaled value per objective, or their sum."""
        scaled = [objective.scale * metrics[objective.metric] for objective in self.objectives]
        return (sum(scaled),) if self.sum_direction else tuple(scaled)

    def violations(self, metrics: Mapping[str, Any]) -> tuple[Any, ...]:
        """The violation of each constraint (`Constraint.violation`)."""
        return tuple(constraint.violation(metrics[constraint.metric]) for constraint in self.constraints)

    def is_within(self, metrics: Mapping[str, float]) -> bool:
        """Whether metrics satisfy every constraint."""
        return all(violation <= 0 for violation in self.violations(metrics))

    def misses(self, metrics: Mapping[str, float]) -> str:
        """The constraints that metrics violate, and by how much."""
        return "; ".join(
            f"{constraint.explained()}: it has {value:.6g}, {abs(value - constraint.bound):.3g} away"
            for constraint in self.constraints
            if constraint.violation(value := float(metrics[constraint.metric])) > 0
        )

    def constraints_explained(self) -> str:
        """All constraints in one line."""
        return ", ".join(constraint.explained() for constraint in self.constraints)

    def costs(self, metrics: Mapping[str, Array]) -> Array:
        """`(points, values)`, less is better."""
        return np.stack(
            [sign(way) * value for way, value in zip(self.directions, self.values(metrics), strict=True)], 1
        )

    def excess(self, metrics: Mapping[str, Array]) -> Array:
        """The sum of the violations of all constraints, `(points,)`; 0 if all are satisfied."""
        first = next(iter(metrics.values()))
        return sum((np.maximum(0.0, beyond) for beyond in self.violations(metrics)), np.zeros(len(first)))

    def costs_of(self, trials: Sequence[Trial]) -> Array:
        """The costs of trials that have metrics."""
        return self.costs(columns(trials, self.metrics))

    def as_json(self) -> dict[str, Any]:
        """The goals as `from_json` reads them."""
        return {
            "objectives": [asdict(objective) for objective in self.objectives],
            "limits": [asdict(constraint) for constraint in self.constraints],
            "sum_direction": self.sum_direction,
        }

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> Goals:
        """The goals that `as_json` returned."""
        objectives = tuple(Objective(**own) for own in row["objectives"])
        return cls(objectives, tuple(Constraint(**own) for own in row.get("limits", ())), row.get("sum_direction"))


def sign(direction: Direction) -> int:
    """The factor that turns a value so that less is better."""
    return 1 if direction == "minimize" else -1


def columns(trials: Sequence[Trial], names: Sequence[str]) -> dict[str, Array]:
    """The metrics of trials, `{name: (trials,)}`."""
    return {name: np.array([trial.metrics[name] for trial in trials], dtype=np.float64) for name in names}
