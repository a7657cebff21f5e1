"""Runs a search trial by trial: opens its log, builds strategy and scheduler, and runs `loop.py` with them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from chop.actions.search.measuring.early_stopping import EarlyStopping
from chop.actions.search.measuring.instruments import Instruments
from chop.actions.search.measuring.scheduler import Scheduler
from chop.actions.search.run.declared_training import declared_training
from chop.actions.search.run.kept_training import KeptTraining
from chop.actions.search.run.log_header import log_header
from chop.actions.search.run.loop import SearchLoop
from chop.actions.search.run.publish import Publication, SearchResult
from chop.actions.search.run.resumable import ResumableSearch
from chop.actions.search.run.session import spread_out
from chop.actions.search.search_space.trained_networks import TrainedNetworks
from chop.actions.search.strategies.base import STRATEGIES, StrategyContext
from chop.record.goals import Goals
from chop.record.trial import Trial
from chop.record.trials import TrialLog
from chop.report.search_progress import SearchProgress
from chop.tools.logger import get_logger
from chop.tools.threads import one_thread
from chop.tools.whole_numbers import LARGEST_IN_ARRAYS

logger = get_logger(__name__)


@dataclass(frozen=True)
class TrialRun:
    """Runs a search that logs all its trials."""

    search: ResumableSearch
    instruments: Instruments
    goals: Goals

    @cached_property
    def early_stopping(self) -> EarlyStopping | None:
        """Early stopping with the rungs of the settings, if there are any."""
        setup = self.search.settings.setup
        if not setup.ladder:
            return None
        found = EarlyStopping(self.instruments.single, self.goals, setup.ladder, setup.ladder_confidence)
        found.tell_unbounded()
        logger.info("early stopping: points are measured one after the other, so that each can be stopped alone")
        return found

    @property
    def by_index(self) -> bool:
        """Whether all points come by index and may share work: none is known before, nothing else says how many."""
        settings, initial = self.search.settings, self.search.initial
        if initial.inherited or initial.first or settings.setup.ask_batch or settings.setup.ladder:
            return False
        return STRATEGIES[settings.strategy].asks_by_index(settings.strategy_options)

    def run(self, resume: bool) -> SearchResult:
        """Search, or continue the search in the folder, and publish the result."""
        search, jobs = self.search, self.search.settings.setup.jobs
        with (
            self._open_log(resume) as log,
            Scheduler(self.instruments, jobs, self.early_stopping, log.trials.__getitem__, self.by_index) as scheduler,
        ):
            trainer = search.trainer()
            self._restore_networks(trainer, log)
            for trial in spread_out([trial for trial in log.trials if trial.counts]):
                search.require_unchanged(self.instruments, log.path, trial.point, trial.metrics)
            budget = search.settings.setup.n_trials
            context = search.context(self.instruments, self.goals, search.seed, budget, trainer)
            loop = self._loop(context, scheduler, log)
            with SearchProgress(self.expected_trials, self.goals, search.settings.order) as progress:
                if context.probes:
                    context.probes.on_probe = progress.on_probe
                if trainer:
                    trainer.on_step = progress.on_step

                def on_trial(trial: Trial) -> None:
                    progress.on_trial(trial)
                    search.watcher.on_trial(trial)

                reason = loop.run(on_trial)
        why_done = loop.strategy.why_done() if reason == "strategy" else ""
        publication = Publication(search, search.files, self.instruments, self.goals, search.command, why_done)
        try:
            return publication.of_trials(log.trials, reason, self.early_stopping)
        except KeyboardInterrupt:
            if not search.always_publishes or reason == "interrupted":
                raise
            return publication.of_trials(log.trials, "interrupted", self.early_stopping)

    def _restore_networks(self, trainer: KeptTraining | None, log: TrialLog) -> None:
        """Train again what a resumed search has lost of the networks of its trials: files that are gone or damaged."""
        space = self.search.space
        if trainer is None or not isinstance(space, TrainedNetworks):
            return
        with one_thread():
            for trial in log.trials:
                trainer.plan(space.number(trial.point))

    def _open_log(self, resume: bool) -> TrialLog:
        search = self.search
        if resume:
            return search.files.resume_trials(search.fingerprint())
        if not search.files.is_by_trial:
            search.initial.write(search.files)
        about = log_header(search.space, self.instruments, self.goals.in_order(search.settings.order))
        return search.files.begin_trials(search.fingerprint(), about)

    def _loop(self, context: StrategyContext, scheduler: Scheduler, log: TrialLog) -> SearchLoop:
        search, setup = self.search, self.search.settings.setup
        search.tell_size()
        strategy = STRATEGIES[search.settings.strategy](context, search.settings.strategy_options)
        batch = setup.ask_batch or (scheduler.batch if strategy.asks_ahead else strategy.batch)
        inherited, first = search.initial.inherited, search.initial.first
        return SearchLoop(search.space, strategy, self.goals, setup, scheduler.measure, log, batch, inherited, first)

    @property
    def expected_trials(self) -> int | None:
        """The maximal number of trials, if it is known."""
        budget, size = self.search.settings.setup.n_trials, self.search.space.size
        if STRATEGIES[self.search.settings.strategy].needs_budget:
            return None if budget is None else budget + len(self.search.initial.inherited)
        training = declared_training(self.search.settings)
        expected = min(budget or size, size if training is None else training.snapshots)
        return expected if expected <= LARGEST_IN_ARRAYS else None
