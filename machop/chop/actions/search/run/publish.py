"""Publishes the result of a search: measures the winners again and writes all files of its folder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from chop.actions.oracle import Oracle
from chop.actions.search.measuring.all_points import BlockTask
from chop.actions.search.measuring.early_stopping import EarlyStopping
from chop.actions.search.measuring.instruments import Instruments
from chop.actions.search.run.layer_facts import layer_facts
from chop.actions.search.run.log_header import metric_facts, now
from chop.actions.search.run.loop import scaled_metrics
from chop.actions.search.run.results import LARGEST_LOG, best_rows, shortfall
from chop.actions.search.run.session import SearchSession
from chop.actions.search.run.verification import Verification
from chop.actions.search.search_space.base import SearchSpaceBase
from chop.actions.search.settings.tables import RunnerChoice
from chop.dataset.data import first_batch
from chop.dataset.data_module import PART_NAMES
from chop.errors import Interrupted, SearchError
from chop.exporters.offered import exporters_that_take
from chop.record.block_totals import ExhaustiveTotals
from chop.record.folder import SearchFolder
from chop.record.goals import Goals
from chop.record.names import HISTOGRAMS_FILE, LANDSCAPE_FILE
from chop.record.rows import best_row_as_json, trial_as_json
from chop.record.summary import FP32, FinishFacts, Reason, SearchSummary
from chop.record.trial import BestRow, Trial, TrialCounts
from chop.report.html.search_page import search_page
from chop.report.search_report import report_text
from chop.tools.logger import get_logger
from chop.tools.whole_numbers import as_json

logger = get_logger(__name__)

MOST_EXACT = 5_000
"""Points of an exact front that a summary keeps at the most."""


@dataclass(frozen=True)
class SearchResult:
    """The result of a search: trials, best rows (the Pareto front), why it ended, and its folder."""

    trials: list[Trial]
    best: list[BestRow]
    reason: Reason
    folder: Path


@dataclass(frozen=True)
class Publication:
    """Writes the result of `search` to its folder; `command` is the command line, empty for a search from Python.

    `why_done` is what the strategy says of its end.
    """

    search: SearchSession
    files: SearchFolder
    instruments: Instruments
    goals: Goals
    command: str = ""
    why_done: str = ""

    def of_trials(self, trials: list[Trial], reason: Reason, stopping: EarlyStopping | None) -> SearchResult:
        """Publish a search that logged every trial."""
        if not trials and reason == "interrupted":
            raise _interrupted_before("trial")
        if not trials:
            raise SearchError(f"the search ended ({reason}) before its first trial; nothing was measured")
        best = best_rows(trials, self.goals, self.search.space)
        self._write_log(trials, best)
        if not best:
            raise SearchError(f"all {len(trials)} trials failed; the first: {trials[0].failed}")
        best = self._measured_again(best, reason)
        remarks = self._write_small_landscape(trials) if reason == "exhausted" else ()
        oracle = None if remarks else self._known(trials)
        remarks = (*remarks, *self._gap(oracle, trials), *(stopping.samples_saved(trials) if stopping else ()))
        seconds = sum(round(trial.seconds, 6) for trial in trials if not trial.inherited)  # as the log has them
        self._write_summary(best, TrialCounts.of(trials), reason, seconds, remarks, oracle)
        return SearchResult(trials, best, reason, self.files.path)

    def of_finished(
        self, result: SearchResult, best: list[BestRow], finish: FinishFacts, reason: Reason
    ) -> SearchResult:
        """Publish the front of tuned networks, in place of the one that the search had published."""
        summary = self.files.summary
        self._write_best(best)
        remarks = summary.remarks
        if self.goals.is_within(best[0].trial.metrics):
            remarks = tuple(line for line in remarks if line != shortfall(result.best[0].trial.metrics, self.goals))
        self.files.write_summary(
            replace(summary, best=best, reason=reason, finish=finish, remarks=remarks, ended=now())
        )
        self._write_reports()
        return replace(result, best=best, reason=reason)

    def of_blocks(self, task: BlockTask, found: ExhaustiveTotals, reason: Reason, has_landscape: bool) -> SearchResult:
        """Publish an exhaustive search block by block; `has_landscape`: its exhaustive table exists already."""
        if found.points == 0:
            if reason == "interrupted":
                raise _interrupted_before("block")
            raise SearchError(f"the search ended ({reason}) before its first block; nothing was measured")
        best = self._enumerated_rows(found)
        if not best:
            raise SearchError(
                f"all {found.points:,} points failed: {found.never_finite() or 'some metric'} is no finite number"
            )
        trials = [row.trial for row in best]
        self._write_log(trials, best)
        best = self._measured_again(best, reason)
        if task.parts is not None and reason == "exhausted":
            self.files.join_landscape(task.blocks, self.search.about_landscape(self.instruments, self.goals))
            has_landscape = True
        self.files.write_histograms(found.histograms or {})
        spread = f"How the values of all measured points are spread: {HISTOGRAMS_FILE}."
        oracle = None if reason == "exhausted" else self._known(trials)
        remarks = (self._table_written if has_landscape else spread, *self._gap(oracle, trials))
        counts = TrialCounts(found.points, 0, found.failed, 0, 0)
        self._write_summary(best, counts, reason, found.seconds, remarks, oracle)
        return SearchResult([], best, reason, self.files.path)

    def _enumerated_rows(self, found: ExhaustiveTotals) -> list[BestRow]:
        """The front as rows; the number of a point in the space is that of its trial."""
        space, rows = self.search.space, []
        for index, count, metrics in found.rows():
            point = space.point(index)
            measured = self.instruments.runners.by_group(metrics)
            scaled = scaled_metrics(measured, self.goals)
            trial = Trial(index, dict(point), measured.software, measured.hardware, scaled)
            rows.append(BestRow(trial, (), space.flattened_indexes_to_config(point), equal_points=count - 1))
        return rows

    def _write_small_landscape(self, trials: Sequence[Trial]) -> tuple[str, ...]:
        """Write the exhaustive table, if asked for, when all points are among the trials."""
        space = self.search.space
        if not getattr(self.search.settings.strategy_options, "landscape", False):
            return ()
        if space.index(trials[0].point) is None:
            return ("There is no exhaustive table: the points of this space have no numbers.",)
        names = next(trial.metrics for trial in trials if not trial.failed)
        scores = {name: np.full(space.size, np.nan) for name in names}
        for trial in trials:
            for name, value in trial.metrics.items():
                scores[name][space.index(trial.point)] = value
        self.files.write_landscape(scores, self.search.about_landscape(self.instruments, self.goals))
        return (self._table_written,)

    def _known(self, trials: Sequence[Trial]) -> Oracle | None:
        """What an exhaustive table of the space tells, if there is one at hand and a trial that can be judged by it."""
        is_any_within = any(trial.counts and self.goals.is_within(trial.metrics) for trial in trials)
        known = self.search.known_landscape(self.instruments) if is_any_within else None
        if known is None or self.search.space.index(trials[0].point) is None:
            return None
        return Oracle(known, self.goals)

    def _gap(self, oracle: Oracle | None, trials: Sequence[Trial]) -> tuple[str, ...]:
        """The distance of the search from the exact front, if that is known."""
        if oracle is None:
            return ()
        space = self.search.space
        indexes = [index for trial in trials if trial.counts and (index := space.index(trial.point)) is not None]
        return (f"{oracle.gap(indexes).as_text()} (exact, from {oracle.landscape.path}).",)

    def _measured_again(self, best: list[BestRow], reason: Reason) -> list[BestRow]:
        """Write the best rows, measure them again alone (not after Ctrl-C), and write the test scores.

        Where they do not agree no file is left that passes for a result: neither these rows nor, since it is published
        later, a landscape.
        """
        self._write_best(best)
        if reason == "interrupted":
            return best
        try:
            best = self._verification.measured_again(best)
        except SearchError:
            self.files.retract()
            raise
        self._write_best(best)
        return best

    @property
    def _table_written(self) -> str:
        """Says where the metrics of all points are, and which of them are not."""
        left = [metric.name for runner in self.instruments.runners.left_to_the_best for metric in runner.metrics]
        but = f" but {', '.join(left)}" if left else ""
        return f"All metrics{but} of all points: {LANDSCAPE_FILE}; ask `ch oracle` about them."

    @property
    def _verification(self) -> Verification:
        return Verification(self.instruments.subject, self.instruments.runners)

    def _write_best(self, best: Sequence[BestRow]) -> None:
        space = self.search.space
        self.files.write_best([{**best_row_as_json(row), **_of_space(space, row.trial)} for row in best])

    def _write_log(self, trials: Sequence[Trial], best: Sequence[BestRow]) -> None:
        """Write every trial; beyond 100,000 points only the front."""
        space = self.search.space
        if len(trials) <= LARGEST_LOG:
            rows = [(trial, space.flattened_indexes_to_config(trial.point)) for trial in trials]
        else:
            rows = [(row.trial, row.sampled_config) for row in best]
        self.files.write_log([{**trial_as_json(trial, config), **_of_space(space, trial)} for trial, config in rows])

    def _write_summary(
        self,
        best: Sequence[BestRow],
        counts: TrialCounts,
        reason: Reason,
        seconds: float,
        remarks: tuple[str, ...],
        oracle: Oracle | None,
    ) -> None:
        """Write the summary, and the report that is made from it alone."""
        search = self.search
        if not self.goals.is_within(best[0].trial.metrics):
            remarks = (shortfall(best[0].trial.metrics, self.goals), *remarks)
        fp32 = None if reason == "interrupted" else self._verification.float_row()
        self.files.write_summary(
            SearchSummary(
                strategy=search.settings.algorithm,
                goals=self.goals.in_order(search.settings.order),
                origin=search.origin(self.command),
                space_size=search.space.size,
                counts=counts,
                best=best,
                reason=reason,
                why_done=self.why_done,
                metrics=metric_facts(self.instruments),
                baselines={FP32: fp32} if fp32 else {},
                remarks=(*search.space.remarks, *remarks),
                saw_test=any(map(_measures_on_test, search.settings.runners)),
                seconds=seconds,
                started=str(self.files.header.values.get("started", "")),
                ended=now(),
                exporter=search.space.exporter or "",
                exporters=self._exporters(best),
                layers=() if reason == "interrupted" else layer_facts(self.instruments),
                exact_front=oracle.front_metrics if oracle and len(oracle.front.index) <= MOST_EXACT else {},
            )
        )
        self._write_reports()

    def _exporters(self, best: Sequence[BestRow]) -> tuple[str, ...]:
        """The exporters that take all networks of the front."""
        space, data = self.search.space, self.search.data_module
        plans = [space.plan(row.trial.point) for row in best]
        return exporters_that_take(space.graph, first_batch(data, "train", 2)[0], plans)

    def _write_reports(self) -> None:
        write_reports(self.files, self.search.settings.setup.html_report)


def write_reports(files: SearchFolder, has_page: bool) -> None:
    """Write `report.md` and, with `has_page`, `report.html`, from the records of a search that has ended.

    Raises SearchError where these are damaged.
    """
    files.write_report(report_text(files.summary, files.path))
    if has_page:
        files.write_page(search_page(files))


def _interrupted_before(first: str) -> Interrupted:
    """What to raise where Ctrl-C came before the `first` of what is measured, once it is told."""
    logger.warning("interrupted before the first %s: nothing was measured; the same command begins anew", first)
    return Interrupted()


def _measures_on_test(runner: RunnerChoice) -> bool:
    return PART_NAMES.get(getattr(runner.options, "data_loader", "")) == "test"


def _of_space(space: SearchSpaceBase, trial: Trial) -> dict[str, Any]:
    """The number of a trial's point in its space, the number of calibration samples, and the passes before."""
    index = space.index(trial.point)
    found: dict[str, Any] = {} if index is None else {"point": as_json(index), "of_points": as_json(space.size)}
    found |= {"passes": list(space.passes)} if space.passes else {}
    return found | ({"calibration_rows": space.calibration_rows} if space.calibration_rows else {})
