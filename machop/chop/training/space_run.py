"""Runs a training for a space to its end, epoch by epoch, with files that let it go on after a kill."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from torch import Tensor

from chop.errors import CheckpointError
from chop.tools.logger import get_logger
from chop.training.for_space import SpaceTraining
from chop.training.probes import ProbeScores
from chop.training.space_files import Progress, SpaceFiles

logger = get_logger(__name__)

Shown = Callable[[int, ProbeScores, int], None]
"""Called with an epoch that was scored (0: before the first), the probes' scores and the number of the best epoch."""


@dataclass(frozen=True)
class SpaceRun:
    """Trains to the end, writing best weights and state after each epoch, and goes on where a run was broken off.

    `facts` are what a resumed run must share; `save_best` writes a checkpoint of the model's own tensors with notes on
    the progress; `epoch_of_best` returns the epoch whose weights that checkpoint has, None where it is missing or
    not of this training.
    """

    training: SpaceTraining
    files: SpaceFiles
    facts: Mapping[str, Any]
    save_best: Callable[[Mapping[str, Tensor], Progress], None]
    epoch_of_best: Callable[[Progress], int | None]
    on_epoch: Shown = lambda epoch, scores, best: None
    on_step: Callable[[int, int], None] = lambda epoch, step: None

    def begin(self) -> Progress:
        """Score the weights as they are, which are the best so far."""
        untouched = self.training.weights()  # probing renews the statistics of batch norms
        scores, _ = self.training.probe()
        progress = Progress((scores.values,), 0)
        self.save_best(untouched, progress)
        self.files.write_state(self.training.state(), progress, self.facts)
        self.on_epoch(0, scores, 0)
        return progress

    def resumed(self) -> Progress:
        """Go back to the last epoch that was done; raises ChopError where the files do not fit."""
        untouched = self.training.weights()
        tensors, progress = self.files.read_state(self.facts)
        self.training.load_state(tensors)
        self._require_best({progress.epochs: self.training.weights(), 0: untouched}, progress)
        return progress

    def is_at_end(self, progress: Progress) -> bool:
        """Whether no epoch is left."""
        return progress.epochs >= self.training.options.max_epochs or self.is_out_of_patience(progress)

    def is_out_of_patience(self, progress: Progress) -> bool:
        """Whether the probes have not improved for as many epochs as the options allow."""
        patience = self.training.options.patience
        return patience is not None and progress.epochs - progress.best >= patience

    def epochs(self, progress: Progress) -> Iterator[Progress]:
        """Train the epochs that are left; the progress after each."""
        metric = self.training.task.monitored
        while not self.is_at_end(progress):
            number = progress.epochs
            self.training.train_epoch(number, partial(self.on_step, number))
            scores, reached = self.training.probe()
            is_best = scores.is_better(ProbeScores(metric, progress.scores[progress.best]))
            best = number + 1 if is_best else progress.best
            progress = Progress((*progress.scores, scores.values), best)
            if is_best:
                self.save_best(reached, progress)
            self.files.write_state(self.training.state(), progress, self.facts)
            self.on_epoch(number + 1, scores, best)
            yield progress

    def _require_best(self, known: Mapping[int, Mapping[str, Tensor]], progress: Progress) -> None:
        """Write the best weights again where their file is not there; `known` are the weights after some epochs.

        A run that was killed between the files of an epoch has written its best already.
        """
        found = self.epoch_of_best(progress)
        if found == progress.best:
            return
        if (weights := known.get(progress.best)) is not None:
            self.save_best(weights, progress)
            told = "%s is written again, with the weights of epoch %d: it was missing, or had others"
            logger.warning(told, self.files.best, progress.best)
        elif found != progress.epochs + 1 or self.is_at_end(progress):
            raise CheckpointError(
                f"{self.files.best}, with the weights of epoch {progress.best}, is missing, or not of this training, "
                f"and the state has the weights of epoch {progress.epochs} alone: put the file back, or start anew "
                "without --resume"
            )
