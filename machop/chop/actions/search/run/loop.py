"""The loop of a search: propose, measure or answer from the log, log, tell the strategy."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from math import inf
from typing import Any

import numpy as np

from chop.actions.search.measuring.outcome import Measured, Outcome
from chop.actions.search.search_space.base import Point, PointKey, SearchSpaceBase
from chop.actions.search.settings.strategy_setup import StrategySetup
from chop.actions.search.strategies.base import WORST, SearchStrategyBase, Values
from chop.errors import ChopError, MetricError, SearchError
from chop.record.front import Front
from chop.record.goals import Goals, columns
from chop.record.summary import Reason
from chop.record.trial import Trial
from chop.record.trials import TrialLog
from chop.tools.logger import get_logger
from chop.tools.option_names import option
from chop.tools.threads import one_thread
from chop.tools.user_code import place_in_plugin

logger = get_logger(__name__)

Measure = Callable[[Sequence[Point], Front | None], Sequence[Outcome]]
"""Measures points; the front so far (of costs, by number of trial) may be used to stop those that cannot win."""


class _Together:
    """Points that were proposed together; they are measured when the first result is needed."""

    def __init__(self, points: Sequence[Point], measure: Measure, front: Front | None) -> None:
        self.points = points
        self.measure = measure
        self.front = front
        self._shift = 0.0

    def measured(self, place: int) -> Outcome:
        """The outcome of one of the points."""
        found, each = self._all
        self._shift += each
        return found[place]

    def shift(self) -> float:
        """Add to the time of the last call of `measured`: time spent on all points is shared."""
        shift, self._shift = self._shift, 0.0
        return shift

    @cached_property
    def _all(self) -> tuple[Sequence[Outcome], float]:
        """All outcomes, and the seconds that each took; an outcome may be computed when it is read."""
        started = time.monotonic()
        found = self.measure(self.points, self.front)
        seconds = time.monotonic() - started
        self._shift -= seconds
        return found, seconds / len(self.points)


@dataclass(frozen=True)
class _Proposal:
    """A proposed point, and its index among those measured together (None: it is known)."""

    point: Point
    together: _Together
    place: int | None

    def measured(self) -> Outcome:
        """The outcome of the point."""
        assert self.place is not None
        return self.together.measured(self.place)


class _Progress:
    """The progress of a search: the points seen, the front, and its last improvement.

    While no network satisfies all constraints, a smaller violation counts as an improvement.
    """

    def __init__(self, loop: SearchLoop) -> None:
        self._loop = loop
        self.seen: dict[PointKey, Trial] = {}
        self.front: Front | None = None
        self.excess = inf
        self.trials = 0
        self.inherited = 0
        self.moved_at = 0

    def add(self, trial: Trial) -> None:
        """Add a trial."""
        self.seen.setdefault(self._loop.space.key(trial.point), trial)
        self.trials += 1
        goals = self._loop.goals
        if not trial.counts:
            return
        if not goals.is_within(trial.metrics):
            self._come_nearer(float(goals.excess(columns([trial], goals.metrics))[0]))
            return
        costs = goals.costs_of([trial])
        if self.front is not None and (self.front.costs <= costs).all(1).any():
            return
        own = Front.of(costs, np.array([trial.number]))
        self.front = own if self.front is None else self.front.joined(own)
        self.moved_at = self.trials

    def _come_nearer(self, excess: float) -> None:
        if self.front is None and excess < self.excess:
            self.excess = excess
            self.moved_at = self.trials


@dataclass(frozen=True)
class SearchLoop:
    """Runs a strategy on a space with a budget and a log; `measure` returns outcomes of points."""

    space: SearchSpaceBase
    strategy: SearchStrategyBase
    goals: Goals
    setup: StrategySetup
    measure: Measure
    log: TrialLog
    batch: int = 1
    """The number of points that are asked for, and measured, together."""

    inherited: Sequence[Trial] = ()
    """Trials of earlier searches that this one begins with; they do not count as its own."""

    first: Sequence[Point] = ()
    """Points that are measured before the strategy is asked for any."""

    def run(self, on_trial: Callable[[Trial], None] = lambda _: None) -> Reason:
        """Search until the budget, the space or the strategy is exhausted, or Ctrl-C; returns the reason.

        Trials that the log holds already are asked for again and answered from it, so that the strategy is in the
        same state as if the search had never stopped. Every trial is in the log before the next is asked for.

        Raises SearchError where the strategy asks for other points than it did before.
        """
        progress = _Progress(self)
        try:
            own = self._inherit(progress, on_trial)
            proposals = self._proposals(progress)
            self._replay(own, proposals, progress, on_trial)
            return self._go_on(proposals, progress, on_trial)
        except KeyboardInterrupt:
            return "interrupted"
        except ChopError:
            raise
        except Exception as error:  # of a strategy or runner, which may be anyone's
            raise self._stopped(f"trial {progress.trials} failed", error) from error

    def _stopped(self, what: str, error: Exception) -> SearchError:
        """The message that code, perhaps the user's, failed."""
        before = f"The trials before it are in {self.log.path}: mend the cause and go on with --resume"
        return SearchError(
            f"{what}{place_in_plugin(error)}: {type(error).__name__}: {error} ({option('debug')} shows where). "
            f"{before if self.log.trials else 'There is no trial before it: mend the cause and start anew'}"
        )

    @contextmanager
    def _strategy_does(self, what: str) -> Iterator[None]:
        """Context of a call of the method `what` of the strategy, which may be the user's own, on one thread."""
        try:
            with one_thread():
                yield
        except ChopError:
            raise
        except Exception as error:
            raise self._stopped(f"{type(self.strategy).__name__}.{what} failed", error) from error

    def _proposals(self, progress: _Progress) -> Iterator[_Proposal]:
        """The starting points, then the proposals of the strategy, one after the other.

        Points that are asked for together are measured together, each network once, also those beyond the budget: so
        a trial's figures never depend on where a search was interrupted. What was known when they were asked for is
        answered from the log.
        """
        for asked in self._asked():
            keys = [self.space.key(point) for point in asked]
            fresh = {
                key: point for key, point in reversed([*zip(keys, asked, strict=True)]) if key not in progress.seen
            }
            places = {key: place for place, key in enumerate(key for key in dict.fromkeys(keys) if key in fresh)}
            together = _Together([fresh[key] for key in places], self.measure, progress.front)
            yield from (_Proposal(point, together, places.get(key)) for key, point in zip(keys, asked, strict=True))

    def _asked(self) -> Iterator[Sequence[Point]]:
        """Points that are proposed and measured together."""
        yield from (self.first[at : at + self.batch] for at in range(0, len(self.first), self.batch))
        parameters = self.space.parameters
        while True:
            with self._strategy_does("ask"):
                asked = self.strategy.ask(self.batch)
            require_points(type(self.strategy).__name__, asked, parameters)
            if not asked:
                return
            yield asked

    def _inherit(self, progress: _Progress, on_trial: Callable[[Trial], None]) -> list[Trial]:
        """Tell the strategy the trials of earlier searches; returns this search's own trials in the log."""
        logged = [trial for trial in self.log.trials if trial.inherited]
        for trial in self.inherited[len(logged) :]:
            self.log.append(trial)
        taken = [trial for trial in self.log.trials if trial.inherited]
        for trial in taken:
            self._take(trial, trial.point, progress, on_trial)
        progress.inherited = progress.moved_at = len(taken)
        return self.log.trials[len(taken) :]

    def _replay(
        self,
        trials: Sequence[Trial],
        proposals: Iterator[_Proposal],
        progress: _Progress,
        on_trial: Callable[[Trial], None],
    ) -> None:
        for trial in trials:
            proposal = next(proposals, None)
            if proposal is None or dict(proposal.point) != dict(trial.point):
                raise SearchError(
                    f"trial {trial.number} of {self.log.path} cannot be repeated: the strategy asks for another "
                    "point than it did then (another version of it, perhaps); start anew without --resume"
                )
            self._take(trial, proposal.point, progress, on_trial)

    def _go_on(self, proposals: Iterator[_Proposal], progress: _Progress, on_trial: Callable[[Trial], None]) -> Reason:
        spent = sum(trial.seconds for trial in self.log.trials if not trial.inherited)
        while True:
            reason = self._stop_reason(progress, spent)
            if reason:
                return reason
            started = time.monotonic()
            proposal = next(proposals, None)
            if proposal is None:
                return "strategy"
            trial = self._trial(proposal, progress)
            seconds = max(0.0, time.monotonic() - started + proposal.together.shift())
            trial, spent = replace(trial, seconds=seconds), spent + seconds
            self.log.append(trial)
            self._take(trial, proposal.point, progress, on_trial)

    def _take(self, trial: Trial, point: Point, progress: _Progress, on_trial: Callable[[Trial], None]) -> None:
        """Tell the strategy a trial that is in the log."""
        with self._strategy_does("tell"):
            self.strategy.tell([point], [told_values(trial, self.goals, self.strategy.constraints)])
        progress.add(trial)
        on_trial(trial)

    def _stop_reason(self, progress: _Progress, seconds: float) -> Reason | None:
        own = progress.trials - progress.inherited
        if len(progress.seen) >= self.space.size:
            return "exhausted"
        if self.setup.n_trials is not None and own >= self.setup.n_trials:
            return "n_trials"
        if self.setup.timeout is not None and seconds >= self.setup.timeout:
            return "timeout"
        if self.setup.patience is not None and progress.trials - progress.moved_at >= self.setup.patience:
            return "patience"
        return None

    def _trial(self, proposal: _Proposal, progress: _Progress) -> Trial:
        point, number = proposal.point, len(self.log.trials)
        earlier = progress.seen.get(self.space.key(point))
        if earlier:
            return replace(earlier, number=number, point=dict(point), repeats=earlier.number, inherited="")
        measured = proposal.measured()
        if isinstance(measured, MetricError):
            logger.warning("trial %d fails: %s", number, measured)
            return Trial(number, dict(point), {}, {}, {}, failed=str(measured))
        scaled = scaled_metrics(measured, self.goals)
        stopped = measured.stopped_at
        return Trial(number, dict(point), measured.software, measured.hardware, scaled, stopped_at=stopped)


def scaled_metrics(measured: Measured, goals: Goals) -> dict[str, float]:
    """Each objective's metric times its scale."""
    metrics = {**measured.software, **measured.hardware}
    return {o.metric: o.scale * metrics[o.metric] for o in goals.objectives}


def told_values(trial: Trial, goals: Goals, with_violations: bool) -> Values:
    """The values that a strategy is told: one per objective, or their sum; the worst for a failed trial.

    Behind them the violation of each constraint, if the strategy knows of constraints; any other is told values that
    are the worse the further a trial is beyond them.
    """
    worst = tuple(-WORST if way == "maximize" else WORST for way in goals.directions)
    if trial.failed:
        return worst + (WORST,) * (len(goals.constraints) if with_violations else 0)
    values: Values = goals.values(trial.metrics)
    violations: Values = goals.violations(trial.metrics)
    if with_violations:
        return values + violations
    beyond = sum(max(0.0, violation) for violation in violations)
    return tuple(bad * (1 + beyond) / 2 for bad in worst) if beyond > 0 else values


def require_points(strategy: str, asked: Any, parameters: Mapping[str, Sequence[Any]]) -> None:
    """Raise SearchError if a strategy returns anything but a list of points with `parameters`."""
    if not isinstance(asked, Sequence) or isinstance(asked, str | bytes):
        what = "None" if asked is None else f"a {type(asked).__name__}"
        raise SearchError(
            f"{strategy}.ask returned {what} where a list of points belongs; an empty list says that nothing "
            "is left to propose"
        )
    for point in asked:
        if not isinstance(point, Mapping) or not point.keys() <= parameters.keys():
            raise _no_point(strategy, point, parameters)
        for key, index in point.items():
            if isinstance(index, bool) or not isinstance(index, int | np.integer):
                raise SearchError(f"{strategy}.ask returned {index!r} for {key}, where the number of a choice belongs")
            if not 0 <= index < len(parameters[key]):
                raise SearchError(
                    f"{strategy}.ask returned choice {index} of {key}, which has {len(parameters[key])} (they are "
                    "counted from 0)"
                )
        if len(point) < len(parameters):
            raise _no_point(strategy, point, parameters)


def _no_point(strategy: str, point: Any, parameters: Mapping[str, Sequence[Any]]) -> SearchError:
    keys = ", ".join([*list(parameters)[:3], *(["…"] if len(parameters) > 3 else [])])
    return SearchError(
        f"{strategy}.ask returned {point!r}, which is not a point: expected a dictionary of {keys} to the numbers of "
        "their choices"
    )
