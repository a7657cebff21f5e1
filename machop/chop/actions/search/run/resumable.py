"""A session of one search, which can be resumed: adds starting trials, command line and files to `SearchSession`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Self

from chop.actions.search.run.session import SearchSession
from chop.actions.search.run.warm_start import NOTHING, Initial, gather
from chop.actions.search.strategies.base import STRATEGIES
from chop.record.folder import SearchFolder
from chop.tools.logger import get_logger
from chop.tools.whole_numbers import readable

logger = get_logger(__name__)


@dataclass(frozen=True)
class ResumableSearch(SearchSession):
    """A checked search with its starting trials and its files."""

    initial: Initial = NOTHING
    command: str = ""
    """The command line as it was typed, without passwords; empty for a search from Python."""
    always_publishes: bool = False
    """Whether Ctrl-C while winners are measured again publishes what was found, in place of raising."""

    @cached_property
    def files(self) -> SearchFolder:
        """The files of the search."""
        return SearchFolder(self.folder)

    def begun_from(self, sources: Sequence[str], resume: bool) -> Self:
        """This search with the starting trials of earlier ones; a resumed search keeps those that it had."""
        if resume:
            return replace(self, initial=Initial.read(self.folder, sources))
        objectives = self.settings.objectives
        return replace(
            self, initial=gather(sources, self.space, self.fingerprint(), objectives, self.settings.wanted_metrics)
        )

    def fingerprint(self) -> dict[str, Any]:
        return {**super().fingerprint(), **self.initial.fingerprint()}

    def tell_size(self) -> None:
        """Log the number of points of the space, and how many the budget leaves out."""
        size, budget = self.space.size, self.settings.setup.n_trials
        logger.info("%s distinct point%s, %s", readable(size), "" if size == 1 else "s", self.settings.strategy)
        if STRATEGIES[self.settings.strategy].exhaustive and budget is not None and budget < size:
            wants_table = getattr(self.settings.strategy_options, "landscape", False)
            landscape = ", so there is no exhaustive table" if wants_table else ""
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
