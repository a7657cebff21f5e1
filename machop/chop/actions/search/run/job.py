"""A search whose settings have been checked: run it, measure the winners again, write it all down."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from chop.actions.search.landscape import (
    PARTS_FOLDER,
    join_parts,
    part_path,
    write_part,
)
from chop.actions.search.measuring.early_stopping import EarlyStopping
from chop.actions.search.measuring.scheduler import Scheduler
from chop.actions.search.measuring.single import Measurement
from chop.actions.search.run.exhaustive import (
    BlockLog,
    ExhaustiveTotals,
    Task,
    measure_all_points,
    taken_over,
)
from chop.actions.search.run.loop import Reason, SearchLoop, scaled_metrics
from chop.actions.search.run.oracle import Oracle
from chop.actions.search.run.results import (
    HISTOGRAMS_FILE,
    LARGEST_LOG,
    REPORT_FILE,
    best_rows,
    shortfall,
    write_best,
    write_json,
    write_log,
)
from chop.actions.search.run.session import SearchSession, spread_out
from chop.actions.search.run.verification import float_row, measured_again
from chop.actions.search.run.warm_start import NOTHING, Initial, gather
from chop.actions.search.settings.search import RunnerChoice
from chop.actions.search.strategies.base import STRATEGIES, StrategyContext
from chop.actions.search.strategies.brute_force import BruteForceOptions
from chop.dataset.data_module import PART_NAMES
from chop.errors import SearchError
from chop.record.goals import Goals
from chop.record.names import BEST_FILE, BLOCKS_FILE, LANDSCAPE_FILE, TRIALS_FILE
from chop.record.trial import BestRow, Trial, TrialCounts
from chop.record.trials import TrialLog
from chop.record.version import new_identity
from chop.report.search_progress import EnumerationProgress, SearchProgress
from chop.report.search_report import SearchSummary, print_summary, report_text
from chop.tools.files import write_whole
from chop.tools.logger import get_logger
from chop.tools.threads import one_thread
from chop.tools.whole_numbers import LARGEST_IN_ARRAYS, readable

logger = get_logger(__name__)


@dataclass(frozen=True)
class SearchResult:
    """The trials of a search, its best rows (the Pareto set), why it ended and where its files are."""

    trials: list[Trial]
    best: list[BestRow]
    reason: Reason
    folder: Path


@dataclass(frozen=True)
class SearchJob(SearchSession):
    """A search that is run, from its first trial or on from those that its folder holds."""

    initial: Initial = NOTHING
    search_id: str = field(default_factory=new_identity)
    """The identity that all files of the search hold; that of its log when it is resumed."""

    def begun_from(self, sources: Sequence[str], resume: bool) -> SearchJob:
        """This search with what it takes over from earlier ones; resumed, with what it took over then."""
        if resume:
            return replace(self, initial=Initial.read(self.folder, sources))
        objectives = self.settings.objectives
        return replace(self, initial=gather(sources, self.space, self.fingerprint(), objectives))

    def fingerprint(self) -> dict[str, Any]:
        return {**super().fingerprint(), **self.initial.fingerprint()}

    def about_landscape(self, measurement: Measurement, goals: Goals) -> dict[str, Any]:
        return {**super().about_landscape(measurement, goals), "search": self.search_id}

    def run(self, resume: bool, before_first: Callable[[], None] = lambda: None) -> SearchResult:
        """Search from the first trial, or on from those in the folder; write everything down and show it.

        `before_first` is called when nothing is left that could refuse a new search, and nothing is written yet.
        """
        measurement = self.measurement()
        with one_thread(measurement.is_light or self.settings.setup.n_jobs > 1):
            return self._run(measurement, resume, before_first)

    def _run(self, measurement: Measurement, resume: bool, before_first: Callable[[], None]) -> SearchResult:
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
        own = replace(self, search_id=log.identity)
        return own._finish(measurement, goals, log.trials, reason, ladder)

    def _ladder(self, measurement: Measurement, goals: Goals) -> EarlyStopping | None:
        """The sample sizes on which candidates may be given up early, if there are any."""
        setup = self.settings.setup
        if not setup.ladder:
            return None
        ladder = EarlyStopping(measurement, goals, setup.ladder, setup.ladder_confidence)
        ladder.tell_unbounded()
        logger.info("ladder: points are measured one after the other, so that each can be given up on its own")
        return ladder

    @property
    def _points(self) -> int:
        """How many points an exhaustive search measures."""
        return min(self.settings.setup.n_trials or self.space.size, self.space.size)

    def _is_enumeration(self, measurement: Measurement, resume: bool) -> bool:
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
        if resume and (self.folder / TRIALS_FILE).exists():
            return False  # begun with a smaller n_trials: every trial is in the log
        are_many = self._points > LARGEST_LOG or (resume and (self.folder / BLOCKS_FILE).exists())
        if options.order != "index" or not are_many or measurement.batched is None:
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

    def _enumerate(self, measurement: Measurement, goals: Goals, resume: bool) -> SearchResult:
        """Measure all points block by block; what is kept is the front."""
        batched, setup = measurement.batched, self.settings.setup
        assert batched is not None
        self._tell_size()
        wanted: bool = self.settings.strategy_options.landscape
        is_written = wanted and resume and self.holds_landscape()
        parts = self.folder / PARTS_FOLDER if wanted and not is_written else None
        path = self.folder / BLOCKS_FILE
        block_size = (BlockLog.block_size_of(path) if resume else None) or batched.block_size()
        task = Task(batched, goals, block_size, self._points, parts)
        header = {
            "fingerprint": self.fingerprint(),
            "block_size": block_size,
            "landscape": wanted,
            "goals": goals.as_json(),
        }
        with (
            closing(BlockLog(path, header, resume, self.search_id)) as log,
            EnumerationProgress(self._points) as progress,
        ):
            found = taken_over(task, log)
            for index, _, metrics in spread_out([*found.rows()]):
                self.require_unchanged(measurement, path, self.space.point(index), metrics)
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
        own = replace(self, search_id=log.identity)
        return own._publish_blocks(measurement, task, found, reason, is_written)

    def _publish_blocks(
        self, measurement: Measurement, task: Task, found: ExhaustiveTotals, reason: Reason, is_written: bool
    ) -> SearchResult:
        """Measure the front again and write everything down; `is_written`: the landscape is there already."""
        goals = task.goals
        if found.points == 0:
            if reason == "interrupted":
                raise KeyboardInterrupt
            raise SearchError(f"the search ended ({reason}) before its first block; nothing was measured")
        best = self._enumerated_rows(measurement, goals, found)
        if not best:
            raise SearchError(
                f"all {found.points:,} points failed: {found.never_finite() or 'some metric'} is no finite number"
            )
        write_log(self.folder, [row.trial for row in best], best, self.space, self.search_id)
        best = self._measured_again(measurement, best, reason)
        if task.parts is not None and reason == "exhausted":
            join_parts(task.parts, task.blocks, self.folder / LANDSCAPE_FILE, self.about_landscape(measurement, goals))
            is_written = True
        remarks = self._write_histograms(found, is_written)
        if reason != "exhausted":
            remarks = (*remarks, *self._gap(measurement, [row.trial for row in best], goals))
        counts = TrialCounts(found.points, 0, found.failed, 0, 0)
        return self._report(measurement, goals, best, counts, reason, [], remarks)

    def _enumerated_rows(self, measurement: Measurement, goals: Goals, found: ExhaustiveTotals) -> list[BestRow]:
        """The front as rows; a point's number in the space is its trial's."""
        rows = []
        for index, count, metrics in found.rows():
            point = self.space.point(index)
            measured = measurement.by_group(metrics)
            trial = Trial(index, dict(point), measured.software, measured.hardware, scaled_metrics(measured, goals))
            config = self.space.flattened_indexes_to_config(point)
            rows.append(BestRow(trial, (), config, equal_points=count - 1))
        return rows

    def _write_histograms(self, found: ExhaustiveTotals, has_landscape: bool) -> tuple[str, ...]:
        """Write how the values of all points are spread; says where that and all metrics are."""
        histograms = {name: histogram.as_json() for name, histogram in (found.histograms or {}).items()}
        write_json(self.folder / HISTOGRAMS_FILE, histograms)
        if has_landscape:
            return (f"All metrics of all points: {LANDSCAPE_FILE}; ask `ch oracle` about them.",)
        return (f"How the values of all measured points are spread: {HISTOGRAMS_FILE}.",)

    def _write_small_landscape(self, measurement: Measurement, goals: Goals, trials: list[Trial]) -> tuple[str, ...]:
        """Write the landscape of a space whose points are all among the trials, if it was asked for."""
        if not getattr(self.settings.strategy_options, "landscape", False):
            return ()
        if self.space.index(trials[0].point) is None:
            return ("There is no landscape: the points of this space have no numbers.",)
        names = next(trial.metrics for trial in trials if not trial.failed)
        scores = {name: np.full(self.space.size, np.nan) for name in names}
        for trial in trials:
            for name, value in trial.metrics.items():
                scores[name][self.space.index(trial.point)] = value
        write_part(part_path(self.folder / PARTS_FOLDER, 0), 0, scores)
        about = self.about_landscape(measurement, goals)
        join_parts(self.folder / PARTS_FOLDER, 1, self.folder / LANDSCAPE_FILE, about)
        return (f"All metrics of all points: {LANDSCAPE_FILE}; ask `ch oracle` about them.",)

    def _gap(self, measurement: Measurement, trials: list[Trial], goals: Goals) -> tuple[str, ...]:
        """How far the search is from the optimum, where a search beside it has measured the whole space."""
        is_any_within = any(trial.counts and goals.is_within(trial.metrics) for trial in trials)
        known = self.known_landscape(measurement) if is_any_within else None
        if known is None or self.space.index(trials[0].point) is None:
            return ()
        oracle = Oracle(known, goals)
        indexes = [index for trial in trials if trial.counts and (index := self.space.index(trial.point)) is not None]
        return (f"{oracle.gap(indexes).as_text()} (exact, from {known.path}).",)

    def _open_log(self, goals: Goals, resume: bool) -> TrialLog:
        path, fingerprint = self.folder / TRIALS_FILE, self.fingerprint()
        if resume:
            if not path.exists() and (self.folder / BLOCKS_FILE).exists():
                raise SearchError(
                    f"the search in {self.folder} measures its points block by block, in the order of their numbers; "
                    "undo what was changed under [search] since, or start anew without --resume"
                )
            return TrialLog.resume(path, fingerprint)
        if not path.exists():
            self.initial.write(self.folder, self.search_id)
        started = datetime.now(UTC).isoformat(timespec="seconds")
        about = {"choices": self.space.parameters, "goals": goals.as_json(), "started": started}
        return TrialLog.create(path, fingerprint, about, self.search_id)

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

    def _finish(
        self, measurement: Measurement, goals: Goals, trials: list[Trial], reason: Reason, ladder: EarlyStopping | None
    ) -> SearchResult:
        if not trials and reason == "interrupted":
            logger.warning("interrupted before the first trial: nothing was measured; the same command begins anew")
            raise KeyboardInterrupt
        if not trials:
            raise SearchError(f"the search ended ({reason}) before its first trial; nothing was measured")
        best = best_rows(trials, goals, self.space)
        write_log(self.folder, trials, best, self.space, self.search_id)
        if not best:
            raise SearchError(f"all {len(trials)} trials failed; the first: {trials[0].failed}")
        best = self._measured_again(measurement, best, reason)
        remarks = self._write_small_landscape(measurement, goals, trials) if reason == "exhausted" else ()
        remarks = (*(remarks or self._gap(measurement, trials, goals)), *(ladder.rows_saved(trials) if ladder else ()))
        return self._report(measurement, goals, best, TrialCounts.of(trials), reason, trials, remarks)

    def _measured_again(self, measurement: Measurement, best: list[BestRow], reason: Reason) -> list[BestRow]:
        """Write the best rows down, measure them again on their own, but not after Ctrl-C, and write that down.

        Where they do not agree no file is left that passes for a result: neither these rows nor, since it is published
        later, a landscape.
        """
        write_best(self.folder, best, self.space, self.search_id)
        if reason == "interrupted":
            return best
        try:
            best = measured_again(measurement, best)
        except SearchError:
            for file in (BEST_FILE, REPORT_FILE):
                (self.folder / file).unlink(missing_ok=True)
            raise
        write_best(self.folder, best, self.space, self.search_id)
        return best

    def _report(
        self,
        measurement: Measurement,
        goals: Goals,
        best: list[BestRow],
        counts: TrialCounts,
        reason: Reason,
        trials: list[Trial],
        remarks: tuple[str, ...],
    ) -> SearchResult:
        """Write everything down and show it."""
        if not goals.is_within(best[0].trial.metrics):
            remarks = (shortfall(best[0].trial.metrics, goals), *remarks)
        summary = SearchSummary(
            strategy=self.settings.strategy,
            goals=goals,
            provenance=self.data_module.dataset_info.provenance,
            space_size=self.space.size,
            **asdict(counts),
            best=best,
            reason=reason,
            float_row=None if reason == "interrupted" else float_row(measurement),
            folder=self.folder,
            remarks=remarks,
            saw_test=any(map(_measures_on_test, self.settings.runners)),
        )
        write_whole(self.folder / REPORT_FILE, report_text(summary))
        print_summary(summary)
        return SearchResult(trials, best, reason, self.folder)


def _measures_on_test(runner: RunnerChoice) -> bool:
    return PART_NAMES.get(getattr(runner.options, "data_loader", "")) == "test"
