"""Runs the training that a strategy declares, and keeps its snapshots and its state in the folder of the search."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from chop.actions.search.strategies.base import Training
from chop.errors import CheckpointError, ChopError, SearchError, without_cure
from chop.ir import QuantPlan
from chop.ir.graph.graph_file import load_onto
from chop.record.folder import SearchFolder
from chop.record.training import SEARCH, SNAPSHOT, TrainingState, foreign
from chop.tools.logger import get_logger
from chop.tools.option_names import option
from chop.tools.user_code import place_in_plugin
from chop.training.snapshots import SnapshotTraining, TrainedNetwork

logger = get_logger(__name__)


class TrainingRun:
    """One run of a training, whose snapshots are kept in memory alone: that of a strategy in a comparison."""

    def __init__(self, training: Training, engine: SnapshotTraining) -> None:
        self._training = training
        self._engine = engine
        self._running: Iterator[TrainedNetwork] | None = None
        self._at = -1
        self._ended = False
        self._plans: dict[int, QuantPlan] = {}
        self.on_step: Callable[[int, int], None] = lambda done, of_all: None

    def plan(self, number: int) -> QuantPlan | None:
        """The formats of a snapshot; None where the training has ended before it."""
        if number >= self._training.snapshots:
            return None
        if not self._has(number):
            self._train_to(number)
        return self._plan_of(number) if self._has(number) else None

    def _train_to(self, number: int) -> None:
        if self._running is None or self._at >= number:
            self._ended = False
            self._at, state = self._start_before(number)
            self._running = self._engine.networks(state, self._on_step)
        while self._at < number and not self._ended:
            trained = self._next()
            self._ended = trained is None
            if trained is not None:
                self._at += 1
                self._keep(self._at, trained)

    def _on_step(self, done: int, of_all: int) -> None:
        self.on_step(done, of_all)

    def _next(self) -> TrainedNetwork | None:
        assert self._running is not None
        try:
            return next(self._running, None)
        except ChopError:
            raise
        except Exception as error:  # of a training, or of a model, of the user's own
            raise SearchError(
                f"the training '{self._training.name}' failed{place_in_plugin(error)}: {type(error).__name__}: {error} "
                f"({option('debug')} shows where)"
            ) from error

    def _start_before(self, number: int) -> tuple[int, Mapping[str, Any] | None]:
        """The number of the snapshot that training goes on behind, and its state; -1 and None: from the beginning."""
        return -1, None

    def _has(self, number: int) -> bool:
        return number in self._plans

    def _plan_of(self, number: int) -> QuantPlan:
        return self._plans[number]

    def _keep(self, number: int, trained: TrainedNetwork) -> None:
        self._plans[number] = trained.graph.plan


class KeptTraining(TrainingRun):
    """One run of a training, each of whose snapshots is a file in the folder of its search, written whole.

    A snapshot is written first, then the state behind it. What is there, and sound, is not trained again.
    """

    def __init__(
        self, training: Training, engine: SnapshotTraining, files: SearchFolder, about: Mapping[str, Any]
    ) -> None:
        super().__init__(training, engine)
        self._files = files
        self._about = about

    def _start_before(self, number: int) -> tuple[int, Mapping[str, Any] | None]:
        state = self._files.training_state
        if state is None or state.snapshot >= number:
            return -1, None
        logger.info("the training goes on behind snapshot %d", state.snapshot)
        return state.snapshot, state.tensors

    def _has(self, number: int) -> bool:
        if number not in self._plans:
            self._read(number)
        return number in self._plans

    def _read(self, number: int) -> None:
        """Read a snapshot of an earlier run; one that is damaged, or of another search, is trained again."""
        path = self._path(number)
        if not path.is_file():
            return
        try:
            graph = load_onto(self._engine.graph, path)
            if reason := foreign(graph.about, path, self._files.identity):
                raise CheckpointError(reason)
            self._plans[number] = graph.plan
        except CheckpointError as error:
            logger.warning("%s: the snapshot is trained again", without_cure(error))

    def _keep(self, number: int, trained: TrainedNetwork) -> None:
        identity = self._files.identity
        about = {**self._about, **trained.notes, SEARCH: identity, SNAPSHOT: number}
        path = trained.graph.export(self._path(number), about)
        self._files.write_training_state(TrainingState(number, trained.state))
        self._plans[number] = load_onto(self._engine.graph, path).plan

    def _path(self, number: int) -> Path:
        return self._files.path / self._files.network_name(number)
