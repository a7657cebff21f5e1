"""Schedules the evaluation of proposed points: selects how each is measured, and in how many processes."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property, partial
from itertools import accumulate
from types import TracebackType
from typing import Any, Self, overload

import numpy as np

from chop.actions.search.measuring.batched import BatchedMeasurement
from chop.actions.search.measuring.early_stopping import EarlyStopping, RacingPoint, Rival
from chop.actions.search.measuring.instruments import Instruments
from chop.actions.search.measuring.outcome import Measured, Outcome
from chop.actions.search.measuring.runner_set import RunnerSet
from chop.actions.search.measuring.single import SingleMeasurement
from chop.actions.search.search_space.base import Point
from chop.actions.search.search_space.codes import Codes
from chop.evaluation.measures import Scores
from chop.executors import Jobs
from chop.executors.patient import SECONDS_ALONE, PatientExecutor
from chop.record.front import Front
from chop.record.trial import Trial
from chop.tools.logger import get_logger

logger = get_logger(__name__)

FEW_POINTS = 4
"""So few are measured one by one: they share too little for what a call for many points costs."""


class Scheduler:
    """Measures points, with the executor of `jobs` once that pays; a context manager.

    The runners that can measure many points in one call do so for all points of a batch; the others are asked about one
    point after the other, as late as its outcome is read, and not about a point that has failed already.

    `early_stopping` needs `trial`, which gives the trial of a number of the search, for its rivals. `by_index`: all
    points of the space come in the order of their index, so that neighbours share most of their work.

    What is measured in one call never depends on `jobs`.
    """

    def __init__(
        self,
        instruments: Instruments,
        jobs: Jobs,
        early_stopping: EarlyStopping | None = None,
        trial: Callable[[int], Trial] | None = None,
        by_index: bool = False,
    ) -> None:
        self._instruments = instruments
        self._jobs = jobs.count
        self._early_stopping = early_stopping
        self._trial = trial
        self._by_index = by_index
        self._executor = PatientExecutor(jobs, SECONDS_ALONE)
        self._has_measured = False

    @property
    def batch(self) -> int:
        """The number of points to propose together, if the strategy has no preference."""
        if self._early_stopping:
            return EarlyStopping.batch
        return self._instruments.batch_by_index(self._jobs) if self._by_index else self._instruments.batch

    def measure(self, points: Sequence[Point], front: Front | None) -> Sequence[Outcome]:
        """The outcomes of points; points that are measured one by one are measured when their outcome is read."""
        self._has_measured = True
        instruments = self._instruments
        if self._early_stopping:
            rivals = tuple(self._rival(number) for number in front.index.tolist()) if front else ()
            return self._singly(self._early_stopping.measure, [RacingPoint(point, rivals) for point in points])
        are_few = len(points) <= FEW_POINTS and not self._by_index
        if are_few or instruments.batched is None:
            return self._singly(instruments.single.outcome, points)
        if not instruments.singly:
            return instruments.outcomes(points, self._scores(instruments.batched.scores, points))
        return self._in_two_steps(points)

    def _in_two_steps(self, points: Sequence[Point]) -> Sequence[Outcome]:
        """Outcomes in two steps: batched runners first, then the others for points that have metrics."""
        instruments = self._instruments
        first = instruments.outcomes(points, self._scores(self._both, points))
        left = [point for point, own in zip(points, first, strict=True) if isinstance(own, Measured)]
        return _InTwoSteps(first, self._singly(self._both, left), instruments.runners)

    @cached_property
    def _both(self) -> _Both:
        """The call of both steps, which is sent to an executor once."""
        instruments = self._instruments
        assert instruments.batched is not None
        single = SingleMeasurement(instruments.subject, instruments.runners, instruments.singly)
        return _Both(instruments.batched, single)

    def _rival(self, number: int) -> Rival:
        assert self._trial is not None
        trial = self._trial(number)
        return Rival(dict(trial.point), trial.metrics)

    def _singly(self, call: Callable[[Any], Outcome], items: Sequence[Any]) -> Sequence[Outcome]:
        if len(items) == 1 and not self._executor.is_named:
            return [call(items[0])]
        return _AsNeeded(items, partial(self._executor.map, call))

    def _scores(self, call: Callable[[Codes], Scores], points: Sequence[Point]) -> Scores:
        """The metrics of points that are measured in batches."""
        instruments = self._instruments
        codes, size = instruments.codes(points), instruments.chunk_by_index if self._by_index else instruments.chunk
        chunks = [codes[first : first + size] for first in range(0, len(codes), size)]
        parts = dict(self._executor.map(call, chunks))
        names = list(parts[0])
        return {name: np.concatenate([parts[place][name] for place in range(len(chunks))]) for name in names}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._jobs > 1 and self._has_measured and not self._executor.has_started:
            logger.warning("n_jobs = %d: all was measured in one process: %s", self._jobs, self._why_alone())
        self._executor.__exit__(kind, error, trace)

    def _why_alone(self) -> str:
        if not self._executor.seconds:
            return "points came one at a time (a search with setup.ask_batch = 4, say, has more to share)"
        return f"measuring took {self._executor.seconds:.1f} s, less than processes take to start"


class _Both:
    """A call that executors share: codes are measured in batches, points one by one."""

    def __init__(self, batched: BatchedMeasurement, single: SingleMeasurement) -> None:
        self._batched = batched
        self._single = single

    def __call__(self, item: Any) -> Any:
        return self._batched.scores(item) if isinstance(item, np.ndarray) else self._single.outcome(item)


class _Outcomes(Sequence[Outcome]):
    """Outcomes that are computed when they are read."""

    @overload
    def __getitem__(self, place: int) -> Outcome: ...

    @overload
    def __getitem__(self, place: slice) -> Sequence[Outcome]: ...

    def __getitem__(self, place: int | slice) -> Outcome | Sequence[Outcome]:
        if isinstance(place, slice):
            return [self[index] for index in range(*place.indices(len(self)))]
        if not 0 <= place < len(self):
            raise IndexError(place)
        return self._outcome(place)

    @abstractmethod
    def _outcome(self, place: int) -> Outcome:
        """The outcome of the item with this index."""


class _InTwoSteps(_Outcomes):
    """Outcomes of a first step, completed by a second step for points that have metrics."""

    def __init__(self, first: Sequence[Outcome], second: Sequence[Outcome], runners: RunnerSet) -> None:
        self._first = first
        self._second = second
        self._runners = runners
        self._places = list(accumulate((isinstance(own, Measured) for own in first), initial=0))

    def __len__(self) -> int:
        return len(self._first)

    def _outcome(self, place: int) -> Outcome:
        known = self._first[place]
        if not isinstance(known, Measured):
            return known
        found = self._second[self._places[place]]
        return self._runners.by_group({**known.metrics, **found.metrics}) if isinstance(found, Measured) else found


class _AsNeeded(_Outcomes):
    """Outcomes that are waited for when they are read, in ascending order; skipped ones are not measured."""

    def __init__(self, items: Sequence[Any], results: Callable[[Sequence[Any]], Iterator[tuple[int, Outcome]]]) -> None:
        self._items = items
        self._results = results
        self._found: dict[int, Outcome] = {}
        self._stream: Iterator[tuple[int, Outcome]] = iter(())
        self._first: int | None = None

    def __len__(self) -> int:
        return len(self._items)

    def _outcome(self, place: int) -> Outcome:
        if self._first is None:
            self._first = place
            self._stream = self._results(self._items[place:])
        while place not in self._found:
            offset, outcome = next(self._stream)
            self._found[self._first + offset] = outcome
        return self._found[place]
