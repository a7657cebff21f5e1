"""Runs a checked search, trial by trial or block by block, up to its published result."""

from __future__ import annotations

from collections.abc import Callable

from chop.actions.search.run.block_by_block import BlockRun, is_block_by_block
from chop.actions.search.run.declared_training import declared_training, require_measurable, tell_left_out
from chop.actions.search.run.finishing import Finishing
from chop.actions.search.run.publish import SearchResult
from chop.actions.search.run.resumable import ResumableSearch
from chop.actions.search.run.trial_by_trial import TrialRun
from chop.actions.search.search_space.trained_networks import TrainedNetworks
from chop.record.published import Published
from chop.tools.logger import get_logger
from chop.tools.threads import one_thread

logger = get_logger(__name__)


class SearchJob(ResumableSearch):
    """A search that runs from its first trial, or continues from those in its folder."""

    def run(self, resume: bool, before_first: Callable[[], None] = lambda: None) -> SearchResult:
        """Search, or continue the search in the folder, and publish the result.

        `before_first` is called when nothing is left that could refuse a new search, and nothing is written yet. A new
        search that ends before it has measured anything leaves none of its files; one that is resumed and interrupted
        before it has measured anything more leaves the results as they were.
        """
        published = Published.of(self.folder) if resume else None
        try:
            result = self._run(resume, before_first)
        except KeyboardInterrupt:
            _put_back(published)
            raise
        if result.reason == "interrupted":
            _put_back(published)
        return result

    def _run(self, resume: bool, before_first: Callable[[], None]) -> SearchResult:
        instruments = self.instruments()
        with one_thread(instruments.is_light or self.settings.setup.n_jobs > 1):
            goals = self.goals(instruments)
            training = declared_training(self.settings)
            if training is not None:
                given = self.space.given if isinstance(self.space, TrainedNetworks) else self.space
                require_measurable(training, given, instruments)
                tell_left_out(training, given)
            run: BlockRun | TrialRun
            if is_block_by_block(self, instruments, resume):
                run = BlockRun(self, instruments, goals)
            else:
                run = TrialRun(self, instruments, goals)
                _ = run.early_stopping  # which may refuse the search
            before_first()
            try:
                result = run.run(resume)
            except BaseException:
                if not resume:
                    self.files.withdraw()
                raise
            options = self.settings.finish
            if options is None and self.files.has_tuned:
                logger.warning(
                    "%s holds tuned networks, which are left out of the result: give --finish-epochs, or "
                    "[search.finish], to draw the front with them",
                    self.folder,
                )
            if options is None or result.reason == "interrupted":
                return result
            return Finishing(self, instruments, goals, options).finish(result)


def _put_back(published: Published | None) -> None:
    if published is not None and published.put_back():
        logger.info("interrupted; nothing new was measured: the results are as they were")
