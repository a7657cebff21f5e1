"""How the points that a study asks for are measured: many in one call, one by one, or up a ladder; by how many."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from types import TracebackType
from typing import Any, overload

import numpy as np

from chop.actions.search.measuring.batched import BatchedMeasurement
from chop.actions.search.measuring.early_stopping import EarlyStopping, RacingPoint, Rival
from chop.actions.search.measuring.single import Measurement
from chop.actions.search.run.loop import Outcome
from chop.actions.search.search_space.base import Point
from chop.executors.processes import Workers
from chop.record.front import Front
from chop.record.trial import Trial
from chop.tools.logger import get_logger

logger = get_logger(__name__)

SECONDS_ALONE = 5.0
"""Spent on measuring in one process before others are started, which takes about as long."""


class Scheduler:
    """Measures points in up to `n_jobs` processes; a context manager.

    A `ladder` needs `trial`, which gives the trial of a number of the study, for its rivals.

    What is measured in one call never depends on `n_jobs`.
    """

    def __init__(
        self,
        measurement: Measurement,
        n_jobs: int,
        ladder: EarlyStopping | None = None,
        trial: Callable[[int], Trial] | None = None,
    ) -> None:
        self._measurement = measurement
        self._n_jobs = n_jobs
        self._ladder = ladder
        self._trial = trial
        self._workers: Workers[Any, Any] | None = None
        self._has_measured = False

    @property
    def batch(self) -> int:
        """How many points to ask for at a time, where the strategy does not mind."""
        return EarlyStopping.batch if self._ladder else self._measurement.batch

    def measure(self, points: Sequence[Point], front: Front | None) -> Sequence[Outcome]:
        """The outcomes of points; where each is measured on its own, as late as it is read."""
        self._has_measured = True
        if self._ladder:
            rivals = tuple(self._rival(number) for number in front.index.tolist()) if front else ()
            return self._singly(self._ladder.measure, [RacingPoint(point, rivals) for point in points])
        if len(points) == 1:
            return self._measurement.measure_many(points)
        if self._measurement.batched is None:
            return self._singly(self._measurement.outcome, points)
        return self._together(self._measurement.batched, points)

    def _rival(self, number: int) -> Rival:
        assert self._trial is not None
        trial = self._trial(number)
        return Rival(dict(trial.point), trial.metrics)

    def _singly(self, call: Callable[[Any], Outcome], items: Sequence[Any]) -> Sequence[Outcome]:
        if len(items) == 1:
            return [call(items[0])]
        return _AsNeeded(items, self._shared_by(call).results)

    def _together(self, batched: BatchedMeasurement, points: Sequence[Point]) -> list[Outcome]:
        codes, size = self._measurement.codes(points), self._measurement.chunk
        chunks = [codes[first : first + size] for first in range(0, len(codes), size)]
        parts = dict(self._shared_by(batched.scores).results(chunks))
        names = list(parts[0])
        scores = {name: np.concatenate([parts[place][name] for place in range(len(chunks))]) for name in names}
        return list(self._measurement.outcomes(points, scores))

    def _shared_by(self, call: Callable[[Any], Any]) -> Workers[Any, Any]:
        """The processes; what they call is the same throughout a search."""
        if self._workers is None:
            self._workers = Workers(call, self._n_jobs, SECONDS_ALONE)
        return self._workers

    def __enter__(self) -> Scheduler:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._n_jobs > 1 and self._has_measured and not (self._workers and self._workers.was_shared):
            logger.info("n_jobs = %d: all was measured in one process: %s", self._n_jobs, self._why_alone())
        if self._workers is not None:
            self._workers.__exit__(kind, error, trace)

    def _why_alone(self) -> str:
        if self._workers is None:
            return "points came one at a time (a search with setup.ask_batch = 4, say, has more to share)"
        return f"measuring took {self._workers.seconds:.1f} s, less than processes take to start"


class _AsNeeded(Sequence[Outcome]):
    """Outcomes that are waited for when they are read, in ascending order; those before the first are not measured."""

    def __init__(self, items: Sequence[Any], results: Callable[[Sequence[Any]], Iterator[tuple[int, Outcome]]]) -> None:
        self._items = items
        self._results = results
        self._found: dict[int, Outcome] = {}
        self._stream: Iterator[tuple[int, Outcome]] = iter(())
        self._first: int | None = None

    def __len__(self) -> int:
        return len(self._items)

    @overload
    def __getitem__(self, place: int) -> Outcome: ...

    @overload
    def __getitem__(self, place: slice) -> Sequence[Outcome]: ...

    def __getitem__(self, place: int | slice) -> Outcome | Sequence[Outcome]:
        if isinstance(place, slice):
            return [self[index] for index in range(*place.indices(len(self)))]
        if not 0 <= place < len(self._items):
            raise IndexError(place)
        if self._first is None:
            self._first = place
            self._stream = self._results(self._items[place:])
        while place not in self._found:
            offset, outcome = next(self._stream)
            self._found[self._first + offset] = outcome
        return self._found[place]
