"""Progress of tuning the best networks of a search: a bar with the time left."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Self

from rich.progress import MofNCompleteColumn

from chop.record.goals import Goals
from chop.report.figure_text import figure_text
from chop.report.search_progress import progress_bar
from chop.tools.logger import get_logger

logger = get_logger(__name__)


class TuningProgress:
    """Shows how many networks are tuned, for how many epochs, and the time left; a context manager.

    Where there is no terminal it is a line for each network.
    """

    def __init__(self, goals: Goals) -> None:
        self._goals = goals
        self._progress = progress_bar(MofNCompleteColumn(), "{task.fields[epochs]}", "{task.fields[last]}", "tune")
        console = self._progress.console
        self._tells_lines = not (console.is_terminal or console.is_jupyter or self._progress.disable)
        self._progress.disable = self._progress.disable or self._tells_lines
        self._networks = self._tuned = 0
        self._told = ""
        self._task = self._progress.add_task("tune", total=None, epochs="", last="")

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *raised: object) -> None:
        self._progress.stop()

    def start(self, networks: int, epochs: int) -> None:
        """Begin a round of tunings."""
        told = f"{epochs} epoch{'' if epochs == 1 else 's'} each"
        self._networks, self._tuned, self._told = networks, 0, told
        self._progress.reset(self._task, total=networks, epochs=told, last="")

    @property
    def missing(self) -> str:
        """The tunings of the running round that are not done, in words."""
        return f"{self._networks - self._tuned} of {self._networks} tunings ({self._told})"

    def on_network(self, metrics: Mapping[str, float]) -> None:
        """Count a network, and show its figures."""
        figures = ", ".join(f"{name} {figure_text(metrics[name])}" for name in self._goals.metrics if name in metrics)
        self._tuned += 1
        self._progress.update(self._task, advance=1, last=f"last: {figures}" if figures else "")
        if self._tells_lines:
            told = figures and f": {figures}"
            logger.info("tuned %d of %d networks (%s)%s", self._tuned, self._networks, self._told, told)
