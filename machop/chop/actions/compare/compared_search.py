"""A checked search whose points are answered: from a table of all, measured now or before, or when asked for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from chop.actions.compare.answers import Answers, Cache, Enumerated
from chop.actions.compare.measured_points import open_measured
from chop.actions.search.measuring.all_points import BlockTask, measure_all_points, taken_over
from chop.actions.search.measuring.batched import BatchedMeasurement
from chop.actions.search.measuring.instruments import Instruments
from chop.actions.search.measuring.scheduler import Scheduler
from chop.actions.search.run.session import SearchSession, spread_out
from chop.errors import SearchError, without_cure
from chop.record.block_totals import ExhaustiveTotals
from chop.record.blocks import BlockLog
from chop.record.comparison_folder import ComparisonFolder
from chop.record.goals import Goals
from chop.record.landscape_key import digest
from chop.record.trial import Trial
from chop.report.search_progress import EnumerationProgress
from chop.tools.logger import get_logger
from chop.tools.threads import one_thread
from chop.tools.whole_numbers import readable

logger = get_logger(__name__)


class ComparedSearch(SearchSession):
    """A search of a comparison, with the folder of its files and the answers to all that strategies ask."""

    @property
    def files(self) -> ComparisonFolder:
        """The folder of the comparison."""
        return ComparisonFolder(self.folder)

    @contextmanager
    def answers(self, instruments: Instruments, goals: Goals, most_points: int) -> Iterator[Answers]:
        """An exhaustive table, measured now or by an earlier search beside this one; else a shared cache."""
        known = self.known_landscape(instruments)
        if known is not None:
            logger.info("%s has the metrics of all %s points", known.path, readable(self.space.size))
            own = self.files.keep_landscape(known.path, self.about_landscape(instruments, goals))
            yield Enumerated(self.space, replace(known, path=own))
        elif self.space.size <= most_points and instruments.for_blocks is not None:
            self._enumerate(instruments, goals, instruments.for_blocks)
            yield Enumerated(self.space, self.files.landscape())
        else:
            why = "the space is no product of choices for its layers"
            if instruments.is_slow:
                why = "a runner must run the model itself for each point"
            if self.space.size > most_points:
                why = f"{readable(self.space.size)} points are more than --most-points {most_points}"
            logger.info("%s: points are measured when asked for", why)
            jobs = self.settings.setup.jobs

            def check(path: Path, trial: Trial) -> None:
                self.require_unchanged(instruments, path, trial.point, trial.metrics)

            with (
                open_measured(self.files, self._key_of_measured(instruments), check) as log,
                one_thread(instruments.is_light or jobs.count > 1),
                Scheduler(instruments, jobs) as measuring,
            ):
                yield Cache(self.space, lambda points: measuring.measure(points, None), log)

    def _key_of_measured(self, instruments: Instruments) -> str:
        """A key that is equal for comparisons whose logs of measured points have the same metrics."""
        key, left = self.landscape_key(), instruments.runners.left_to_the_best
        return digest([key, sorted(metric.name for own in left for metric in own.metrics)]) if left else key

    def _enumerate(self, instruments: Instruments, goals: Goals, batched: BatchedMeasurement) -> None:
        """Measure all points and write them block by block, so that an interrupted run can continue."""
        block_size = self.files.block_size or batched.block_size()
        task = BlockTask(batched, goals, block_size, self.space.size, self.files.parts)
        header = {"key": self.landscape_key(), "goals": goals.as_json(), "block_size": block_size}
        log, found = self._open_blocks(instruments, task, header)
        jobs = self.settings.setup.jobs
        with closing(log):
            if len(found.done) < task.blocks:
                batched.prepare_all(jobs)
            with EnumerationProgress(self.space.size) as progress:
                progress.start_from(found.points)
                measure_all_points(task, found, log, jobs, lambda: False, progress.show)
        self.files.join_landscape(task.blocks, self.about_landscape(instruments, goals))

    def _open_blocks(
        self, instruments: Instruments, task: BlockTask, header: Mapping[str, Any]
    ) -> tuple[BlockLog, ExhaustiveTotals]:
        """Open the log of an interrupted comparison with its blocks, or a new one if that is of another space."""
        path = self.files.blocks_path
        if path.exists():
            try:
                log = self.files.open_blocks(header, resume=True)
                try:
                    found = taken_over(task, log)
                    for index, _, metrics in spread_out([*found.rows()]):
                        self.require_unchanged(instruments, path, self.space.point(index), metrics)
                except BaseException:
                    log.close()
                    raise
                return log, found
            except SearchError as error:
                logger.warning("%s: all points are measured anew", without_cure(error))
                self.files.put_aside(path)
        return self.files.open_blocks(header, resume=False), ExhaustiveTotals()
