"""Runs a training for a space to its end, epoch by epoch, with files that let it go on after a kill."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from torch import Tensor

from chop.training.for_space import SpaceTraining
from chop.training.probes import ProbeScores
from chop.training.space_files import Progress, SpaceFiles

Shown = Callable[[int, ProbeScores, int], None]
"""Called with an epoch that was scored (0: before the first), the probes' scores and the number of the best epoch."""


@dataclass(frozen=True)
class SpaceRun:
    """Trains to the end, writing best weights and state after each epoch, and goes on where a run was broken off.

    `facts` are what a resumed run must share; `save_best` writes a checkpoint of the model's own tensors with notes on
    the progress.
    """

    training: SpaceTraining
    files: SpaceFiles
    facts: Mapping[str, Any]
    save_best: Callable[[Mapping[str, Tensor], Progress], None]
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
        tensors, progress = self.files.read_state(self.facts)
        self.training.load_state(tensors)
        return progress

    def epochs(self, progress: Progress) -> Iterator[Progress]:
        """Train the epochs that are left; the progress after each."""
        options, metric = self.training.options, self.training.task.monitored
        while progress.epochs < options.max_epochs and not progress.stopped:
            number = progress.epochs
            self.training.train_epoch(number, partial(self.on_step, number))
            scores, reached = self.training.probe()
            is_best = scores.is_better(ProbeScores(metric, progress.scores[progress.best]))
            best = number + 1 if is_best else progress.best
            stopped = options.patience is not None and number + 1 - best >= options.patience
            progress = Progress((*progress.scores, scores.values), best, stopped)
            if is_best:
                self.save_best(reached, progress)
            self.files.write_state(self.training.state(), progress, self.facts)
            self.on_epoch(number + 1, scores, best)
            yield progress
