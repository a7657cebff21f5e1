"""Runs a large exhaustive search block by block; keeps the front and histograms, and no trials."""

from __future__ import annotations

import time
from contextlib import closing
from dataclasses import dataclass

from chop.actions.search.measuring.all_points import BlockTask, measure_all_points, taken_over
from chop.actions.search.measuring.batched import BatchedMeasurement
from chop.actions.search.measuring.instruments import Instruments
from chop.actions.search.run.log_header import log_header
from chop.actions.search.run.publish import Publication, SearchResult
from chop.actions.search.run.results import LARGEST_LOG
from chop.actions.search.run.resumable import ResumableSearch
from chop.actions.search.run.session import spread_out
from chop.actions.search.strategies.brute_force import BruteForceOptions
from chop.errors import SearchError, WrongSearchError
from chop.record.block_totals import ExhaustiveTotals
from chop.record.blocks import BlockLog
from chop.record.goals import Goals
from chop.record.summary import Reason
from chop.report.search_progress import EnumerationProgress
from chop.tools.whole_numbers import LARGEST_IN_ARRAYS, readable


def is_block_by_block(search: ResumableSearch, instruments: Instruments, resume: bool) -> bool:
    """Whether an exhaustive search, by index, has too many points to store every trial.

    Raises SearchError where so many points can never be measured, or settings make no sense for them.
    """
    options, points = search.settings.strategy_options, _points(search)
    if not isinstance(options, BruteForceOptions):
        return False
    _require_possible(search, instruments, options)
    if resume and search.files.is_by_trial:
        return False  # begun with a smaller n_trials: every trial is in the log
    are_many = points > LARGEST_LOG or (resume and search.files.holds_search)
    if options.order != "index" or not are_many or instruments.for_blocks is None:
        return False
    for key in (name for name in ("ladder", "patience") if getattr(search.settings.setup, name)):
        raise SearchError(
            f"{readable(points)} points are measured block by block, many in each call, so none can be stopped "
            f"early, and the search ends between blocks only: remove {key} under [search.strategy.setup], or set "
            f'order = "random" or n_trials of at most {LARGEST_LOG:,}'
        )
    if search.initial.names:
        raise WrongSearchError("--init-from has no effect here: every point is measured, block by block; leave it out")
    return True


def _require_possible(search: ResumableSearch, instruments: Instruments, options: BruteForceOptions) -> None:
    """Raise SearchError if there are more points than can be measured."""
    points = _points(search)
    if points > LARGEST_IN_ARRAYS:
        raise SearchError(
            f"{readable(points)} points can never all be measured: give n_trials under [search.strategy.setup], fewer "
            "choices, or another strategy"
        )
    if instruments.is_slow and points > options.most_model_runs:
        why = "" if search.settings.eval_mode else " (eval_mode = false)"
        raise SearchError(
            f"{readable(points)} points, and a runner must run the model itself for each{why}: give n_trials, fewer "
            f"choices, or raise most_model_runs = {options.most_model_runs} under [search.strategy.setup]"
        )


def _points(search: ResumableSearch) -> int:
    """The number of points that an exhaustive search measures."""
    return min(search.settings.setup.n_trials or search.space.size, search.space.size)


@dataclass(frozen=True)
class BlockRun:
    """Runs an exhaustive search whose points are measured in batches."""

    search: ResumableSearch
    instruments: Instruments
    goals: Goals

    def run(self, resume: bool) -> SearchResult:
        """Measure all points that the folder does not have yet, and publish the result."""
        search, points = self.search, _points(self.search)
        batched = self.instruments.for_blocks
        assert batched is not None
        search.tell_size()
        wanted: bool = search.settings.strategy_options.landscape
        is_written = wanted and resume and search.holds_landscape()
        task = self._task(batched, resume, has_parts=wanted and not is_written)
        header = {
            "fingerprint": search.fingerprint(),
            "block_size": task.block_size,
            "landscape": wanted,
            "size": search.space.size,
            **log_header(search.space, self.instruments, self.goals.in_order(search.settings.order)),
        }
        with closing(search.files.open_blocks(header, resume)) as log:
            found = taken_over(task, log)
            for index, _, metrics in spread_out([*found.rows()]):
                search.require_unchanged(self.instruments, log.path, search.space.point(index), metrics)
            reason: Reason = "exhausted" if points == search.space.size else "n_trials"
            try:
                self._measure(task, found, log)
                reason = reason if found.points == points else "timeout"
            except KeyboardInterrupt:
                reason = "interrupted"
        publication = Publication(search, search.files, self.instruments, self.goals, search.command)
        try:
            return publication.of_blocks(task, found, reason, is_written)
        except KeyboardInterrupt:
            if not search.always_publishes or reason == "interrupted":
                raise
            return publication.of_blocks(task, found, "interrupted", is_written)

    def _measure(self, task: BlockTask, found: ExhaustiveTotals, log: BlockLog) -> None:
        """Measure what is left, after the slow work that all of it rests on, and show how far it is."""
        setup = self.search.settings.setup
        started = time.monotonic() - found.seconds

        def is_over() -> bool:
            return setup.timeout is not None and time.monotonic() - started >= setup.timeout

        if len(found.done) < task.blocks:
            task.batched.prepare_all(setup.jobs)
        with EnumerationProgress(task.points) as progress:
            progress.start_from(found.points)

            def show(points: int, front: int) -> None:
                progress.show(points, front)
                self.search.watcher.on_points(points, task.points, front)

            measure_all_points(task, found, log, setup.jobs, is_over, show, self._code_of)

    def _code_of(self, index: int) -> list[int]:
        """The choices of a point, in the order of the space's parameters."""
        point = self.search.space.point(index)
        return [point[key] for key in self.search.space.parameters]

    def _task(self, batched: BatchedMeasurement, resume: bool, has_parts: bool) -> BlockTask:
        files = self.search.files
        block_size = (files.block_size if resume else None) or batched.block_size()
        return BlockTask(batched, self.goals, block_size, _points(self.search), files.parts if has_parts else None)
