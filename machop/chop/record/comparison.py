"""Data classes of a comparison's result, from which report, tables, pictures and `summary.json` are made."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import isinf
from typing import Any

import numpy as np

from chop.record.goals import Goals
from chop.record.summary import Origin
from chop.tools.whole_numbers import readable

Array = np.ndarray[Any, Any]
TARGETS = (0.90, 0.95, 0.98, 0.99)
"""Shares of the exact hypervolume whose first evaluation is reported."""


@dataclass(frozen=True)
class Band:
    """The 10 % quantile, the median and the 90 % quantile over seeds, each `(evaluations,)` or `(trials,)`."""

    low: Array
    median: Array
    high: Array

    def at(self, count: int) -> tuple[float, float, float]:
        """The three after `count` evaluations (the last ones where there are fewer)."""
        place = min(count, len(self.median)) - 1
        return float(self.low[place]), float(self.median[place]), float(self.high[place])


Spread = tuple[float, float, float]
"""10 % quantile, median and 90 % quantile; infinite where a target is not reached."""


@dataclass(frozen=True)
class StrategySummary:
    """The summary of a strategy's runs.

    `runs` were made; one run of a `deterministic` strategy stands for every seed.

    `hypervolume` is by evaluation and `hypervolume_by_trial` by trial, as shares of the exact front's; `regret` by
    the label of what was asked; `duplicates` and `seconds` (of the strategy itself) are medians of a whole run. `front`
    has the metrics of the front that the run in the middle found, `front_share` is that run's hypervolume at its end.
    `probes` before the first trial cost as much as so many evaluations; the verdict alone counts them.
    """

    name: str
    runs: int
    deterministic: bool
    hypervolume: Band
    hypervolume_by_trial: Band
    regret: Mapping[str, Band]
    evaluations_to: Mapping[float, Spread]
    evaluations: float
    duplicates: float
    seconds: float
    seconds_per_trial: float
    front: Mapping[str, Array]
    front_share: float
    probes: float = 0.0


@dataclass(frozen=True)
class Comparison:
    """A strategy against a reference; `measure` is the evaluations to a target or the final hypervolume.

    `p` is corrected for the number of strategies (None: nothing is left to chance), `least_p` is what it could be at
    the least with so many seeds; `effect` is the rank-biserial correlation of pairs of runs with one seed (1: always
    better, -1: always worse), `ratio` how many times its evaluations the reference needs; `other_spent` is how many
    the reference made in all (median).
    """

    strategy: str
    reference: str
    measure: str
    own: float
    other: float
    p: float | None
    effect: float
    word: str
    least_p: float | None = None
    ratio: float | None = None
    ratio_low: float | None = None
    ratio_high: float | None = None
    other_spent: float = 0.0

    def times_at_least(self, budget: int) -> float | None:
        """How many times the evaluations of the strategy the reference made without reaching the target.

        None if the reference ended by itself, so that a larger budget would not help it.
        """
        return None if self.other_spent < budget else budget / self.own


@dataclass(frozen=True)
class CompareSummary:
    """The result of a whole comparison.

    `is_exact`: all points were measured, so `front` is the exact one; else it is that of the `measured` points. `cloud`
    has the metrics of some points, `uniform` of those with the same formats in all layers; `pairs` are the axes of
    pictures, `(cost, value)`. `runs` of the `planned_runs` (strategies × seeds) have ended, or are not needed because
    the strategy does not use its seed. `units` are those of metrics that have one.
    """

    goals: Goals
    origin: Origin
    space_size: int
    measured: int
    budget: int
    seeds: Sequence[int]
    is_exact: bool
    strategies: Sequence[StrategySummary]
    verdict: Sequence[str]
    comparisons: Sequence[Comparison]
    correlations: Mapping[tuple[str, str], float]
    remarks: Sequence[str]
    front: Mapping[str, Array]
    cloud: Mapping[str, Array]
    pairs: Sequence[tuple[str, str]]
    uniform: Mapping[str, Array]
    runs: int
    planned_runs: int
    units: Mapping[str, str] = field(default_factory=dict)
    samples: str = ""
    """The samples that points were measured on, as text; empty in files that do not say it."""
    cut_short: bool = False
    """Whether Ctrl-C came to this command when all runs had ended: there may be no pictures. It is not stored."""

    @property
    def sample_count(self) -> int | None:
        """The number of samples that all metrics were measured on; None where it is not known, or not the same."""
        found = re.fullmatch(r"([\d,]+) \w+ samples", self.samples)
        return int(found[1].replace(",", "")) if found else None

    @property
    def interrupted(self) -> bool:
        """Whether runs are missing."""
        return self.runs < self.planned_runs

    @property
    def extent(self) -> str:
        """The number of seeds, and of finished runs after an interruption, as text."""
        if self.interrupted:
            return f"{self.runs} of {counted(self.planned_runs, 'run')}, interrupted"
        return counted(len(self.seeds), "seed")

    @property
    def of_what(self) -> str:
        """The whole that shares of the hypervolume refer to, as text."""
        return "exact" if self.is_exact else "best known"

    @property
    def share(self) -> str:
        """The noun for shares: the hypervolume, or the way from worst to best for one objective."""
        return share_name(self.goals)

    @property
    def whole(self) -> str:
        """The meaning of a share of 100 %."""
        return whole_name(self.goals, self.is_exact)

    @property
    def best(self) -> str:
        """The result that has a share of 100 %."""
        return f"{self.of_what} front" if len(self.goals.names) > 1 else "best value" if self.is_exact else "best known"

    @property
    def truth(self) -> str:
        """The reference that the strategies are judged by, as text."""
        is_front = len(self.goals.names) > 1
        if self.is_exact:
            measured = f"all {readable(self.space_size)} points have" if self.space_size > 1 else "the only point has"
            return f"{'The exact front' if is_front else 'The best value is exact'}: {measured} been measured."
        what, whose = ("exact front", "front") if is_front else ("best value", "way to the best")
        return (
            f"The {what} is not known: shares are of the {whose} of the {counted(self.measured, 'point')} that any "
            f"strategy measured, of {readable(self.space_size)}. They flatter all strategies alike."
        )


def checkpoints(budget: int) -> list[int]:
    """The numbers of evaluations at which the hypervolume is reported.

    >>> checkpoints(300)
    [10, 20, 50, 100, 200, 300]
    """
    usual = [digit * 10**power for power in range(1, 7) for digit in (1, 2, 5)]
    return [*(count for count in usual if count < budget), budget]


def share_name(goals: Goals) -> str:
    """The noun for shares, in a word or two."""
    return "hypervolume" if len(goals.names) > 1 else "way to the best"


def whole_name(goals: Goals, is_exact: bool) -> str:
    """The meaning of a share of 100 %."""
    if len(goals.names) > 1:
        return f"{'exact' if is_exact else 'best known'} hypervolume"
    return f"way from the worst value to the best{'' if is_exact else ' known'}"


def counted(number: float, noun: str) -> str:
    """A number with its noun.

    >>> counted(1, "seed"), counted(1200, "point")
    ('1 seed', '1,200 points')
    """
    shown = readable(number) if isinstance(number, int) else f"{number:,.10g}"
    return f"{shown} {noun}{'' if number == 1 else 's'}"


def percent(share: float, decimals: int = 2) -> str:
    """A share in per cent as text; a share below 1 never reads as 100.

    >>> percent(0.95), percent(0.99999), percent(1.0), percent(0.99999, decimals=1), percent(-0.0)
    ('95', '99.99', '100', '99.9', '0')
    """
    most = 100 - 10**-decimals if share < 1 - 1e-9 else 100.0
    text = f"{min(100 * share + 0.0, most):.{decimals}f}"  # -0.0 becomes 0.0
    return text.rstrip("0").rstrip(".")


def finite_or_none(value: float) -> float | None:
    """A number for JSON; null for infinity (a target that was not reached)."""
    return None if isinf(value) else value
