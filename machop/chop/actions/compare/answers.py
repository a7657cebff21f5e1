"""Returns metrics of points to strategies: from an exhaustive table, or from a cache that all strategies share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from chop.actions.search.measuring.outcome import Measured, Outcome
from chop.actions.search.run.loop import require_points
from chop.actions.search.search_space import Point, SearchSpaceBase
from chop.record.landscape import Landscape
from chop.record.trial import Trial
from chop.record.trials import TrialLog

Metrics = dict[str, float]
Array = np.ndarray[Any, Any]


class Answers(ABC):
    """Metrics of points by row number; points that mean the same network have the same row."""

    taken_over = 0
    """The number of points that an earlier comparison has measured."""

    @property
    @abstractmethod
    def is_exact(self) -> bool:
        """Whether every point of the space has been measured."""

    @abstractmethod
    def rows(self, points: Sequence[Point]) -> list[int]:
        """The rows of some points, measured now if necessary; raises SearchError for an invalid point."""

    @abstractmethod
    def metrics(self, row: int) -> Metrics | None:
        """The metrics of a row; None for a point that has none."""

    @abstractmethod
    def indexes(self, rows: Array) -> list[int]:
        """The numbers of the rows' points in the space, of any size; -1 if points have no numbers."""

    @abstractmethod
    def landscape(self) -> Landscape:
        """The metrics of all rows."""


class Enumerated(Answers):
    """Answers from the metrics of every point; the row of a point is its number."""

    is_exact = True

    def __init__(self, space: SearchSpaceBase, landscape: Landscape) -> None:
        self._space = space
        self._landscape = landscape

    def rows(self, points: Sequence[Point]) -> list[int]:
        require_points("strategy", points, self._space.parameters)
        found = [self._space.index(point) for point in points]
        return [row for row in found if row is not None]

    def metrics(self, row: int) -> Metrics | None:
        if not self._landscape.is_measured[row]:
            return None
        return {name: float(values[row]) for name, values in self._landscape.metrics.items()}

    def indexes(self, rows: Array) -> list[int]:
        found: list[int] = rows.tolist()
        return found

    def landscape(self) -> Landscape:
        return self._landscape


class Cache(Answers):
    """Measures a point when it is first proposed; rows are numbered in that order.

    Each is written to `log` before the next is measured; those that the log holds already have the first rows.
    """

    def __init__(
        self, space: SearchSpaceBase, measure: Callable[[Sequence[Point]], Sequence[Outcome]], log: TrialLog
    ) -> None:
        self._space = space
        self._measure = measure
        self._log = log
        self._known: dict[tuple[int, ...], int] = {}
        self._points: list[Point] = []
        self._metrics: list[Metrics] = []
        self.taken_over = len(log.trials)
        for trial in log.trials:
            self._take(self._space.key(trial.point), trial)

    @property
    def is_exact(self) -> bool:
        return len(self._known) == self._space.size

    def rows(self, points: Sequence[Point]) -> list[int]:
        require_points("strategy", points, self._space.parameters)
        keys = [self._space.key(point) for point in points]
        unmeasured = {key: point for key, point in zip(keys, points, strict=True) if key not in self._known}
        if unmeasured:
            outcomes = self._measure(list(unmeasured.values()))
            for (key, point), outcome in zip(unmeasured.items(), outcomes, strict=True):
                trial = _trial(len(self._log.trials), point, outcome)
                self._log.append(trial)
                self._take(key, trial)
        return [self._known[key] for key in keys]

    def _take(self, key: tuple[int, ...], trial: Trial) -> None:
        if key not in self._known:
            self._known[key] = len(self._known)
            self._points.append(trial.point)
            self._metrics.append(trial.metrics)

    def metrics(self, row: int) -> Metrics | None:
        return self._metrics[row] or None

    def indexes(self, rows: Array) -> list[int]:
        found = [self._space.index(self._points[row]) for row in rows.tolist()]
        return [-1 if index is None else index for index in found]

    def landscape(self) -> Landscape:
        names = list(dict.fromkeys(name for own in self._metrics for name in own))
        columns = {name: np.array([own.get(name, np.nan) for own in self._metrics]) for name in names}
        return Landscape(Path("the measured points"), {}, columns)


def _trial(number: int, point: Point, outcome: Outcome) -> Trial:
    if isinstance(outcome, Measured):
        return Trial(number, dict(point), outcome.software, outcome.hardware, {})
    return Trial(number, dict(point), {}, {}, {}, failed=str(outcome))
