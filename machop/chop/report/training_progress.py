"""Progress of a training: a bar on a terminal, else a line after each epoch."""

from __future__ import annotations

import time
from typing import Self

from chop.report.search_progress import progress_bar
from chop.tools.logger import get_logger
from chop.training.probes import ProbeScores

logger = get_logger(__name__)

REFRESH = 0.1
"""Seconds between two updates of the bar."""


class TrainingProgress:
    """Shows how many steps of a training are done, and the scores of its probes; a context manager."""

    def __init__(self, epochs: int, steps_of_epoch: int) -> None:
        self._epochs, self._steps = epochs, steps_of_epoch
        self._progress = progress_bar(
            "{task.fields[done]}", "{task.fields[rate]} steps/s", "{task.fields[best]}", "train"
        )
        console = self._progress.console
        self._is_bar = not self._progress.disable and (console.is_terminal or console.is_jupyter)
        self._task = self._progress.add_task("train", total=epochs * steps_of_epoch, rate="-", best="", done="")
        self._shown = self._started = time.monotonic()
        self._first: int | None = None

    def __enter__(self) -> Self:
        if self._is_bar:
            self._progress.start()
        return self

    def __exit__(self, *raised: object) -> None:
        if self._is_bar:
            self._progress.stop()

    def on_step(self, epoch: int, step: int) -> None:
        """Show a step of an epoch, both counted from 0."""
        done = epoch * self._steps + step + 1
        if self._first is None:
            self._first = done - 1
        if time.monotonic() - self._shown < REFRESH:
            return
        self._shown = time.monotonic()
        rate = (done - self._first) / max(self._shown - self._started, 1e-9)
        text = f"epoch {epoch + 1}/{self._epochs}"
        self._progress.update(self._task, completed=done, rate=f"{rate:.0f}", done=text)

    def on_epoch(self, epoch: int, scores: ProbeScores, best: int) -> None:
        """Show the scores after an epoch (0: before the first), and which epoch is the best so far."""
        self._progress.update(self._task, best=f"probes {scores.mean:.4f}, best epoch {best}")
        if not self._is_bar:
            when = f"epoch {epoch} of {self._epochs}" if epoch else "before training"
            logger.info("%s: %s%s", when, scores.as_text(), ", the best so far" if epoch == best else "")
