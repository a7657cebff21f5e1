"""The loop of a search: ask, measure or answer from the log, write down, tell."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

from chop.actions.search.measurement import Measured
from chop.actions.search.search_space.base import Point, SearchSpaceBase
from chop.actions.search.settings import StudySetup
from chop.actions.search.strategies.base import SearchStrategyBase, Values
from chop.errors import MetricError, SearchError
from chop.ir.trial import Objective, Trial
from chop.ir.trial_log import TrialLog
from chop.tools.logger import get_logger

logger = get_logger(__name__)

Measure = Callable[[Sequence[Point]], Sequence[Measured | MetricError]]
PointKey = tuple[int, ...]
WORST = 1e30
"""Told in place of a metric that a failed trial does not have."""

Reason = Literal["n_trials", "timeout", "exhausted", "strategy", "interrupted"]


class _Together:
    """Points that were asked for together, measured when the first of them is needed."""

    def __init__(self, points: Sequence[Point], measure: Measure) -> None:
        self.points = points
        self.measure = measure
        self.seconds_each = 0.0
        self.seconds = 0.0
        """What the last call of `measured` took."""

    def measured(self, place: int) -> Measured | MetricError:
        """What was measured for one of the points, or why there is nothing."""
        started = time.monotonic()
        found = self._all[place]
        self.seconds = time.monotonic() - started
        return found

    @cached_property
    def _all(self) -> Sequence[Measured | MetricError]:
        started = time.monotonic()
        found = self.measure(self.points)
        self.seconds_each = (time.monotonic() - started) / len(self.points)
        return found


@dataclass(frozen=True)
class _Proposal:
    """A point that the strategy asks for, and those that are measured with it."""

    point: Point
    together: _Together
    place: int

    def measured(self) -> Measured | MetricError:
        """What was measured for the point."""
        return self.together.measured(self.place)


@dataclass(frozen=True)
class Study:
    """A strategy on a space, with a budget and a log. `measure` gives the metrics of points, or why one has none."""

    space: SearchSpaceBase
    strategy: SearchStrategyBase
    objectives: tuple[Objective, ...]
    setup: StudySetup
    measure: Measure
    log: TrialLog
    batch: int = 1
    """How many points are asked for, and measured, together where the strategy does not mind."""

    @property
    def directions(self) -> tuple[Literal["maximize", "minimize"], ...]:
        """One direction per value that the strategy is told."""
        return study_directions(self.objectives, self.setup)

    def run(self, on_trial: Callable[[Trial], None] = lambda _: None) -> Reason:
        """Search until the budget, the space or the strategy is exhausted, or Ctrl-C; says which.

        Trials that the log holds already are asked for again and answered from it, so that the strategy is in the
        same state as if the search had never stopped. Every trial is in the log before the next is asked for.

        Raises SearchError where the strategy asks for other points than it did before.
        """
        seen: dict[PointKey, Trial] = {}
        proposals = self._proposals()
        try:
            self._replay(proposals, seen, on_trial)
            return self._go_on(proposals, seen, on_trial)
        except KeyboardInterrupt:
            return "interrupted"

    def _proposals(self) -> Iterator[_Proposal]:
        """What the strategy asks for, one after the other.

        Points that are asked for together are measured together, all of them, also those beyond the budget or answered
        from the log: so a trial's figures never depend on where a search was interrupted.
        """
        while asked := self.strategy.ask(self.batch if self.strategy.asks_ahead else 1):
            together = _Together(asked, self.measure)
            yield from (_Proposal(point, together, place) for place, point in enumerate(asked))

    def _replay(
        self, proposals: Iterator[_Proposal], seen: dict[PointKey, Trial], on_trial: Callable[[Trial], None]
    ) -> None:
        for trial in self.log.trials:
            proposal = next(proposals, None)
            if proposal is None or dict(proposal.point) != dict(trial.point):
                raise SearchError(
                    f"trial {trial.number} of {self.log.path} cannot be repeated: the strategy asks for another "
                    "point than it did then (another version of it, perhaps); start anew without --resume"
                )
            self._tell(proposal.point, trial)
            seen.setdefault(self._key(trial.point), trial)
            on_trial(trial)

    def _go_on(
        self, proposals: Iterator[_Proposal], seen: dict[PointKey, Trial], on_trial: Callable[[Trial], None]
    ) -> Reason:
        spent = sum(trial.seconds for trial in self.log.trials)
        while True:
            reason = self._stop_reason(len(seen), spent)
            if reason:
                return reason
            started = time.monotonic()
            proposal = next(proposals, None)
            if proposal is None:
                return "strategy"
            trial = self._trial(proposal, seen)
            seconds = time.monotonic() - started - proposal.together.seconds + proposal.together.seconds_each
            trial, spent = replace(trial, seconds=max(0.0, seconds)), spent + max(0.0, seconds)
            self.log.append(trial)
            self._tell(proposal.point, trial)
            seen.setdefault(self._key(trial.point), trial)
            on_trial(trial)

    def _stop_reason(self, distinct: int, seconds: float) -> Reason | None:
        if self.setup.n_trials is not None and len(self.log.trials) >= self.setup.n_trials:
            return "n_trials"
        if distinct >= self.space.size:
            return "exhausted"
        if self.setup.timeout is not None and seconds >= self.setup.timeout:
            return "timeout"
        return None

    def _trial(self, proposal: _Proposal, seen: dict[PointKey, Trial]) -> Trial:
        point, number = proposal.point, len(self.log.trials)
        earlier = seen.get(self._key(point))
        if earlier:
            return replace(earlier, number=number, point=dict(point), repeats=earlier.number)
        measured = proposal.measured()
        if isinstance(measured, MetricError):
            logger.warning("trial %d fails: %s", number, measured)
            return Trial(number, dict(point), {}, {}, {}, failed=str(measured))
        return Trial(number, dict(point), measured.software, measured.hardware, self._scaled(measured))

    def _scaled(self, measured: Measured) -> dict[str, float]:
        metrics = {**measured.software, **measured.hardware}
        return {o.metric: o.scale * metrics[o.metric] for o in self.objectives}

    def _tell(self, point: Point, trial: Trial) -> None:
        self.strategy.tell([point], [study_values(trial, self.objectives, self.setup)])

    def _key(self, point: Point) -> PointKey:
        return tuple(self.space.canonical(point).values())


def study_directions(
    objectives: tuple[Objective, ...], setup: StudySetup
) -> tuple[Literal["maximize", "minimize"], ...]:
    """The directions of what a strategy is told: one per metric, or that of the sum."""
    if setup.sum_scaled_metrics:
        assert setup.direction is not None
        return (setup.direction,)
    return tuple(objective.direction for objective in objectives)


def study_values(trial: Trial, objectives: tuple[Objective, ...], setup: StudySetup) -> Values:
    """What a strategy is told of a trial: each scaled metric, or their sum; of one that failed the worst."""
    if trial.failed:
        return tuple(-WORST if way == "maximize" else WORST for way in study_directions(objectives, setup))
    values = tuple(trial.scaled_metrics[objective.metric] for objective in objectives)
    return (sum(values),) if setup.sum_scaled_metrics else values


def distinct(trials: list[Trial]) -> Iterator[Trial]:
    """The trials that were measured, without repeats."""
    return (trial for trial in trials if trial.repeats is None)
