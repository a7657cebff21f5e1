"""Runs `ch oracle`: the exact front of an exhaustive table, and how far points and searches are from it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from chop.errors import SearchError, WrongSearchError
from chop.record.comparison import counted, percent
from chop.record.front import Front
from chop.record.goals import Goals
from chop.record.landscape import Landscape


@dataclass(frozen=True)
class Standing:
    """The standing of a point: how many points dominate it (0: it is on the front), and its regret by objective.

    The regret is how much better the best point is that is no worse in every other objective. Both are None for a point
    that does not count: it `misses` a constraint by so much, or has a metric that is no finite number (None).
    """

    index: int
    metrics: dict[str, float | None]
    dominated_by: int | None
    regret: dict[str, float | None]
    misses: str = ""


LEAST_SHARE = 1e-4
"""Share of the hypervolume below which it is not told in per cent."""


@dataclass(frozen=True)
class Gap:
    """The distance of the points of a search from the exact front.

    `hypervolume` is relative to that of the exact front: objectives scaled to their range over the whole space, the
    reference at the worst of each.
    """

    points: int
    hypervolume: float
    found: int
    front: int
    regret: dict[str, float]

    def as_text(self) -> str:
        """One line."""
        is_sum = len(self.regret) == 1
        if self.is_closed:
            found = "the best value there is" if is_sum else f"all {counted(self.front, 'point')} of the exact front"
            return f"Gap to the optimum: none, the search found {found}"
        missing = f"{percent(1 - self.hypervolume)} %" if self.hypervolume < 1 - LEAST_SHARE else "less than 0.01 %"
        if is_sum:
            return f"Gap to the optimum: {missing} of the way from the worst value to the best; {self._worse()}"
        return (
            f"Gap to the optimum: {missing} of the exact hypervolume; {self.found} of {self.front} points of the exact "
            f"front were found. The best values found, beside those of the exact front: {self._worse()}"
        )

    def _worse(self) -> str:
        """The regret of each objective: how much worse the best value found is than the best of the space."""
        return ", ".join(f"{name} {f'{value:.4g} worse' if value else 'equal'}" for name, value in self.regret.items())

    @property
    def is_closed(self) -> bool:
        """Whether the search found all that there is."""
        return self.found == self.front or (len(self.regret) == 1 and not any(self.regret.values()))


class Oracle:
    """Answers from an exhaustive table under `goals` (None: those of the search that made it)."""

    def __init__(self, landscape: Landscape, goals: Goals | None = None) -> None:
        self.landscape = landscape
        self.goals = goals or goals_of(landscape.about, landscape.path)
        missing = [metric for metric in self.goals.metrics if metric not in landscape.metrics]
        if missing:
            if not landscape.metrics:
                raise SearchError(f"no point of {landscape.path} has metrics: none could be measured")
            raise SearchError(f"{landscape.path} has no {missing[0]} (it has {', '.join(landscape.metrics)})")

    @cached_property
    def costs(self) -> np.ndarray[Any, Any]:
        """`(points, objectives)`, less is better; infinite for points without metrics or with a violated constraint."""
        costs = self.goals.costs(self.landscape.metrics)
        within = self.goals.excess(self.landscape.metrics) <= 0
        costs[~(self.landscape.is_measured & within)] = np.inf
        return costs

    @cached_property
    def bounds(self) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
        """The least and the greatest cost by objective over the whole space, constraints ignored."""
        costs = self.goals.costs(self.landscape.metrics)
        measured = costs[self.landscape.is_measured]
        return measured.min(0), measured.max(0)

    @cached_property
    def front(self) -> Front:
        """The exact front; raises SearchError if no point with metrics satisfies all constraints."""
        finite = np.flatnonzero(np.isfinite(self.costs).all(1))
        if not len(finite):
            raise SearchError(f"no point of {self.landscape.path} {self._nothing_counts()}")
        return Front.of(self.costs[finite], finite)

    @property
    def front_metrics(self) -> dict[int, dict[str, float]]:
        """All metrics of the points of the exact front, by number of point."""
        metrics = self.landscape.metrics
        return {
            number: {name: float(values[number]) for name, values in metrics.items() if np.isfinite(values[number])}
            for number in self.front.index.tolist()
        }

    def _nothing_counts(self) -> str:
        """The reason why no point counts: no finite metrics, or the smallest violation."""
        metrics = self.landscape.metrics
        if not self.landscape.is_measured.any():
            nowhere = ", ".join(name for name, values in metrics.items() if not np.isfinite(values).any())
            return f"has finite metrics{f' (none anywhere: {nowhere})' if nowhere else ''}"
        nearest = int(np.where(self.landscape.is_measured, self.goals.excess(metrics), np.inf).argmin())
        misses = self.goals.misses({name: float(values[nearest]) for name, values in metrics.items()})
        return f"satisfies all constraints. The nearest violates {misses}; loosen them, or widen the space"

    @cached_property
    def volume(self) -> float:
        """The hypervolume of the exact front, `bounds` scaled to the unit cube."""
        return self.front.hypervolume(*self.bounds)

    def hypervolume(self, indexes: Sequence[int]) -> float:
        """The hypervolume of some points as a share of that of the exact front; 0 if none of them counts."""
        chosen = self._that_count(indexes)
        if not len(chosen):
            return 0.0
        own = Front.of(self.costs[chosen], chosen).hypervolume(*self.bounds)
        return own / self.volume if self.volume else 1.0

    def _that_count(self, indexes: Sequence[int]) -> np.ndarray[Any, Any]:
        """The distinct points among some that have metrics and satisfy all constraints."""
        distinct = np.unique(np.asarray(indexes, dtype=np.int64))
        kept: np.ndarray[Any, Any] = distinct[np.isfinite(self.costs[distinct]).all(1)]
        return kept

    def standing(self, index: int) -> Standing:
        """The standing of point `index`; raises WrongSearchError if there is no such point."""
        if not 0 <= index < self.landscape.size:
            raise WrongSearchError(f"{self.landscape.path} has points 0 to {self.landscape.size - 1}, not {index}")
        metrics = {name: float(values[index]) for name, values in self.landscape.metrics.items()}
        if not np.isfinite(self.costs[index]).all():
            return self._not_counting(index, metrics)
        own = self.goals.costs({name: values[[index]] for name, values in self.landscape.metrics.items()})[0]
        no_worse = self.costs <= own
        dominated_by = int((no_worse.all(1) & (self.costs < own).any(1)).sum())
        regret: dict[str, float | None] = {}
        for column, name in enumerate(self.goals.names):
            others = np.delete(no_worse, column, axis=1).all(1)
            regret[name] = (
                float(own[column] - self.costs[others, column].min(initial=own[column])) / self._scales[column]
            )
        return Standing(index, {**metrics}, dominated_by, regret)

    def _not_counting(self, index: int, metrics: dict[str, float]) -> Standing:
        known = {name: value if np.isfinite(value) else None for name, value in metrics.items()}
        failed = [name for name, value in known.items() if value is None]
        lacking = "metric" if len(failed) == len(known) else ", ".join(failed)
        misses = f"no finite {lacking}" if failed else self.goals.misses(metrics)
        return Standing(index, known, None, dict.fromkeys(self.goals.names), misses)

    def gap(self, indexes: Sequence[int]) -> Gap:
        """The distance of a set of points from the exact front."""
        chosen = self._that_count(indexes)
        if not len(chosen):
            raise SearchError("none of these points has metrics and satisfies all constraints: there is no front")
        own = Front.of(self.costs[chosen], chosen)
        known = {tuple(row) for row in self.front.costs.tolist()}
        best = (own.costs.min(0) - self.front.costs.min(0)) / self._scales
        return Gap(
            points=len(np.unique(np.asarray(indexes))),
            hypervolume=self.hypervolume(indexes),
            found=sum(tuple(row) in known for row in own.costs.tolist()),
            front=len(known),
            regret={name: float(value) for name, value in zip(self.goals.names, best, strict=True)},
        )

    @property
    def _scales(self) -> np.ndarray[Any, Any]:
        """Factors that turn differences of costs into differences of metrics."""
        return np.array([1.0] if self.goals.sum_direction else [abs(o.scale) for o in self.goals.objectives])


def goals_of(row: Any, path: Path) -> Goals:
    """The goals of an exhaustive table; raises SearchError if the file states none."""
    try:
        return Goals.from_json(row)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise SearchError(f"{path} says nothing of what is optimised ({type(error).__name__}: {error})") from error
