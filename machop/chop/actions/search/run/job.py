"""A search whose settings have been checked: run it, measure the winners again, write it all down."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from chop.actions.search.measuring.early_stopping import EarlyStopping
from chop.actions.search.measuring.instruments import Instruments
from chop.actions.search.measuring.scheduler import Scheduler
from chop.actions.search.run.exhaustive import (
    Task,
    measure_all_points,
    taken_over,
)
from chop.actions.search.run.loop import SearchLoop
from chop.actions.search.run.publish import Publication, SearchResult, now
from chop.actions.search.run.results import LARGEST_LOG
from chop.actions.search.run.session import SearchSession, spread_out
from chop.actions.search.run.warm_start import NOTHING, Initial, gather
from chop.actions.search.strategies.base import STRATEGIES, StrategyContext
from chop.actions.search.strategies.brute_force import BruteForceOptions
from chop.errors import SearchError
from chop.record.folder import SearchFolder
from chop.record.goals import Goals
from chop.record.summary import Reason
from chop.record.trials import TrialLog
from chop.report.search_progress import EnumerationProgress, SearchProgress
from chop.tools.logger import get_logger
from chop.tools.threads import one_thread
from chop.tools.whole_numbers import LARGEST_IN_ARRAYS, readable

logger = get_logger(__name__)


@dataclass(frozen=True)
class SearchJob(SearchSession):
    """A search that is run, from its first trial or on from those that its folder holds."""

    initial: Initial = NOTHING
    command: str = ""
    """The command line as it was typed, without passwords; empty for a search from Python."""

    @cached_property
    def files(self) -> SearchFolder:
        """The files of the search."""
        return SearchFolder(self.folder)

    def begun_from(self, sources: Sequence[str], resume: bool) -> SearchJob:
        """This search with what it takes over from earlier ones; resumed, with what it took over then."""
        if resume:
            return replace(self, initial=Initial.read(self.folder, sources))
        objectives = self.settings.objectives
        return replace(
            self, initial=gather(sources, self.space, self.fingerprint(), objectives, self.settings.wanted_metrics)
        )

    def fingerprint(self) -> dict[str, Any]:
        return {**super().fingerprint(), **self.initial.fingerprint()}

    def run(self, resume: bool, before_first: Callable[[], None] = lambda: None) -> SearchResult:
        """Search from the first trial, or on from those in the folder; write everything down.

        `before_first` is called when nothing is left that could refuse a new search, and nothing is written yet.
        """
        measurement = self.measurement()
        with one_thread(measurement.is_light or self.settings.setup.n_jobs > 1):
            return self._run(measurement, resume, before_first)

    def _run(self, measurement: Instruments, resume: bool, before_first: Callable[[], None]) -> SearchResult:
        goals = self.goals(measurement)
        if self._is_enumeration(measurement, resume):
            before_first()
            return self._enumerate(measurement, goals, resume)
        ladder = self._ladder(measurement, goals)
        before_first()
        with (
            self._open_log(goals, resume) as log,
            Scheduler(measurement, self.settings.setup.n_jobs, ladder, log.trials.__getitem__) as measuring,
        ):
            for trial in spread_out([trial for trial in log.trials if trial.counts]):
                self.require_unchanged(measurement, log.path, trial.point, trial.metrics)
            context = self.context(measurement, goals, self.seed, self.settings.setup.n_trials)
            study = self._study(context, measuring, goals, log)
            with SearchProgress(self._expected_trials(), goals) as progress:
                if context.probes:
                    context.probes.on_probe = progress.on_probe
                reason = study.run(progress.on_trial)
        return self._publication(measurement, goals).of_trials(log.trials, reason, ladder)

    def _publication(self, measurement: Instruments, goals: Goals) -> Publication:
        return Publication(self, self.files, measurement, goals, self.command)

    def _ladder(self, measurement: Instruments, goals: Goals) -> EarlyStopping | None:
        """The sample sizes on which candidates may be given up early, if there are any."""
        setup = self.settings.setup
        if not setup.ladder:
            return None
        ladder = EarlyStopping(measurement.single, goals, setup.ladder, setup.ladder_confidence)
        ladder.tell_unbounded()
        logger.info("ladder: points are measured one after the other, so that each can be given up on its own")
        return ladder

    @property
    def _points(self) -> int:
        """How many points an exhaustive search measures."""
        return min(self.settings.setup.n_trials or self.space.size, self.space.size)

    def _is_enumeration(self, measurement: Instruments, resume: bool) -> bool:
        """Whether there are too many trials to write each down, and no need to: the points come by their numbers."""
        options = self.settings.strategy_options
        if not isinstance(options, BruteForceOptions):
            return False
        if self._points > LARGEST_IN_ARRAYS:
            raise SearchError(
                f"{readable(self._points)} points can never all be measured: give n_trials under "
                "[search.strategy.setup], fewer choices, or another strategy"
            )
        if measurement.runs_models and self._points > options.most_model_runs:
            why = "" if self.settings.eval_mode else " (eval_mode = false)"
            raise SearchError(
                f"{readable(self._points)} points, and a runner must run the model itself for each{why}: give "
                f"n_trials, fewer choices, or raise most_model_runs = {options.most_model_runs} under "
                "[search.strategy.setup]"
            )
        if resume and self.files.is_by_trial:
            return False  # begun with a smaller n_trials: every trial is in the log
        are_many = self._points > LARGEST_LOG or (resume and self.files.holds_search)
        if options.order != "index" or not are_many or measurement.for_blocks is None:
            return False
        setup = self.settings.setup
        for key in (name for name in ("ladder", "patience") if getattr(setup, name)):
            raise SearchError(
                f"{readable(self._points)} points are measured block by block, many in each call, so that none can be "
                f"given up and the search ends between blocks only: remove {key} under [search.strategy.setup], or "
                f'give order = "random" or n_trials of at most {LARGEST_LOG:,}'
            )
        if self.initial.names:
            raise SearchError("--init-from has no use here: every point is measured, block by block; leave it out")
        return True

    def _enumerate(self, measurement: Instruments, goals: Goals, resume: bool) -> SearchResult:
        """Measure all points block by block; what is kept is the front."""
        batched, setup = measurement.for_blocks, self.settings.setup
        assert batched is not None
        self._tell_size()
        wanted: bool = self.settings.strategy_options.landscape
        is_written = wanted and resume and self.holds_landscape()
        parts = self.files.parts if wanted and not is_written else None
        block_size = (self.files.block_size if resume else None) or batched.block_size()
        task = Task(batched, goals, block_size, self._points, parts)
        header = {
            "fingerprint": self.fingerprint(),
            "block_size": block_size,
            "landscape": wanted,
            "goals": goals.as_json(),
            "started": now(),
        }
        with (
            closing(self.files.open_blocks(header, resume)) as log,
            EnumerationProgress(self._points) as progress,
        ):
            found = taken_over(task, log)
            for index, _, metrics in spread_out([*found.rows()]):
                self.require_unchanged(measurement, log.path, self.space.point(index), metrics)
            started = time.monotonic() - found.seconds

            def is_over() -> bool:
                return setup.timeout is not None and time.monotonic() - started >= setup.timeout

            progress.start_from(found.points)
            reason: Reason = "exhausted" if self._points == self.space.size else "n_trials"
            try:
                measure_all_points(task, found, log, setup.n_jobs, is_over, progress.show)
                reason = reason if found.points == self._points else "timeout"
            except KeyboardInterrupt:
                reason = "interrupted"
        return self._publication(measurement, goals).of_blocks(task, found, reason, is_written)

    def _open_log(self, goals: Goals, resume: bool) -> TrialLog:
        if resume:
            return self.files.resume_trials(self.fingerprint())
        if not self.files.is_by_trial:
            self.initial.write(self.files)
        about = {"choices": self.space.parameters, "goals": goals.as_json(), "started": now()}
        return self.files.begin_trials(self.fingerprint(), about)

    def _study(self, context: StrategyContext, measuring: Scheduler, goals: Goals, log: TrialLog) -> SearchLoop:
        settings = self.settings
        self._tell_size()
        strategy = STRATEGIES[settings.strategy](context, settings.strategy_options)
        batch = settings.setup.ask_batch or (measuring.batch if strategy.asks_ahead else strategy.batch)
        inherited, first = self.initial.inherited, self.initial.first
        return SearchLoop(self.space, strategy, goals, settings.setup, measuring.measure, log, batch, inherited, first)

    def _expected_trials(self) -> int | None:
        """How many trials there will be at the most, if that is known."""
        budget = self.settings.setup.n_trials
        if STRATEGIES[self.settings.strategy].needs_budget:
            return None if budget is None else budget + len(self.initial.inherited)
        expected = min(budget or self.space.size, self.space.size)
        return expected if expected <= LARGEST_IN_ARRAYS else None

    def _tell_size(self) -> None:
        size, budget = self.space.size, self.settings.setup.n_trials
        logger.info("%s distinct point%s, %s", readable(size), "" if size == 1 else "s", self.settings.strategy)
        if STRATEGIES[self.settings.strategy].exhaustive and budget is not None and budget < size:
            landscape = ", so there is no landscape" if self.settings.strategy_options.landscape else ""
            said = (budget, budget, readable(size), landscape)
            logger.warning("n_trials = %d: only the first %d of %s points are measured%s", *said)
        first = len(self.initial.first)
        if budget is not None and first > budget:
            logger.warning(
                "n_trials = %d: only the first %d of the %d points of earlier searches are measured, and the "
                "strategy is not asked for any; raise n_trials",
                budget,
                budget,
                first,
            )
