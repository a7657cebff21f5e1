"""A session of one search, which can be resumed: adds starting trials, command line and files to `SearchSession`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Self

from chop.actions.search.run.declared_training import declared_training, engine_of, file_digests
from chop.actions.search.run.kept_training import KeptTraining
from chop.actions.search.run.session import SearchSession
from chop.actions.search.run.warm_start import NOTHING, Initial, gather
from chop.actions.search.run.watcher import Watcher
from chop.actions.search.search_space import SearchSpaceBase
from chop.actions.search.search_space.trained_networks import TrainedNetworks
from chop.actions.search.settings.search import SearchSettings
from chop.actions.search.strategies.base import STRATEGIES
from chop.config.later_keys import fingerprint_of_options
from chop.errors import WrongSearchError
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
    watcher: Watcher = field(default_factory=Watcher)
    always_publishes: bool = False
    """Whether Ctrl-C while winners are measured again publishes what was found, in place of raising."""

    @classmethod
    def searched_space(cls, settings: SearchSettings, space: SearchSpaceBase, folder: Path) -> SearchSpaceBase:
        training = declared_training(settings)
        if training is None or not training.own_networks:
            return space
        return TrainedNetworks(space, training.snapshots, SearchFolder(folder))

    def trainer(self) -> KeptTraining | None:
        """Runs the training of the strategy, if it declares one, and keeps its snapshots with the search."""
        training = declared_training(self.settings)
        if training is None:
            return None
        engine = engine_of(training, self.space, self.data_module, self.seed, self.device)
        about = {
            "model": self.input_fingerprint.get("model"),
            "task": getattr(self.data_module, "task_name", None),
            "dataset": self.data_module.dataset_info.name,
        }
        return KeptTraining(training, engine, self.files, {key: own for key, own in about.items() if own})

    @cached_property
    def files(self) -> SearchFolder:
        """The files of the search."""
        return SearchFolder(self.folder)

    def begun_from(self, sources: Sequence[str], resume: bool) -> Self:
        """This search with the starting trials of earlier ones; a resumed search keeps those that it had."""
        if sources and isinstance(self.space, TrainedNetworks):
            raise WrongSearchError(
                "--init-from has no effect here: each trial is a network of this training; leave it out"
            )
        if resume:
            return replace(self, initial=Initial.read(self.folder, sources))
        objectives = self.settings.objectives
        return replace(
            self, initial=gather(sources, self.space, self.fingerprint(), objectives, self.settings.wanted_metrics)
        )

    def fingerprint(self) -> dict[str, Any]:
        training = declared_training(self.settings)
        trained: dict[str, Any] = {} if training is None else {"training": fingerprint_of_options(training)}
        if training is not None and (files := file_digests(training)):
            trained["training_files"] = files
        return {**super().fingerprint(), **trained, **self.initial.fingerprint()}

    def tell_size(self) -> None:
        """Log the number of points of the space, and how many the budget leaves out."""
        size, budget = self.space.size, self.settings.setup.n_trials
        if isinstance(self.space, TrainedNetworks):
            logger.info("%d snapshots of one training, %s", size, self.settings.algorithm)
            if budget is not None and budget < size:
                logger.warning(
                    "n_trials = %d ends the training after so many of its %d snapshots, where networks still cost "
                    "most; for fewer trials along the whole run lower snapshots",
                    budget,
                    size,
                )
            return
        logger.info("%s distinct point%s, %s", readable(size), "" if size == 1 else "s", self.settings.algorithm)
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
