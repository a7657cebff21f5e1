"""The loop of a search: ask, measure or answer from the log, write down, tell."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
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

PointKey = tuple[int, ...]
WORST = 1e30
"""Told in place of a metric that a failed trial does not have."""

Reason = Literal["n_trials", "timeout", "exhausted", "strategy", "interrupted"]


@dataclass(frozen=True)
class Study:
    """A strategy on a space, with a budget and a log. `measure` gives a point's metrics."""

    space: SearchSpaceBase
    strategy: SearchStrategyBase
    objectives: tuple[Objective, ...]
    setup: StudySetup
    measure: Callable[[Point], Measured]
    log: TrialLog

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
        try:
            self._replay(seen, on_trial)
            return self._go_on(seen, on_trial)
        except KeyboardInterrupt:
            return "interrupted"

    def _replay(self, seen: dict[PointKey, Trial], on_trial: Callable[[Trial], None]) -> None:
        for trial in self.log.trials:
            asked = self.strategy.ask(1)
            if not asked or dict(asked[0]) != dict(trial.point):
                raise SearchError(
                    f"trial {trial.number} of {self.log.path} cannot be repeated: the strategy asks for another "
                    "point than it did then (another version of it, perhaps); start anew without --resume"
                )
            self._tell(asked[0], trial)
            seen.setdefault(self._key(trial.point), trial)
            on_trial(trial)

    def _go_on(self, seen: dict[PointKey, Trial], on_trial: Callable[[Trial], None]) -> Reason:
        spent = sum(trial.seconds for trial in self.log.trials)
        last = time.monotonic()
        while True:
            reason = self._stop_reason(len(seen), spent)
            if reason:
                return reason
            asked = self.strategy.ask(1)
            if not asked:
                return "strategy"
            trial = self._trial(asked[0], seen)
            now = time.monotonic()
            trial, spent, last = replace(trial, seconds=now - last), spent + now - last, now
            self.log.append(trial)
            self._tell(asked[0], trial)
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

    def _trial(self, point: Point, seen: dict[PointKey, Trial]) -> Trial:
        earlier = seen.get(self._key(point))
        number = len(self.log.trials)
        if earlier:
            return Trial(
                number,
                dict(point),
                earlier.software_metrics,
                earlier.hardware_metrics,
                earlier.scaled_metrics,
                repeats=earlier.number,
                failed=earlier.failed,
            )
        try:
            measured = self.measure(point)
        except MetricError as error:
            logger.warning("trial %d fails: %s", number, error)
            return Trial(number, dict(point), {}, {}, {}, failed=str(error))
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
