"""Progress of tuning the best networks of a search: a bar with the time left."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

from rich.progress import MofNCompleteColumn

from chop.record.goals import Goals
from chop.report.search_progress import progress_bar


class TuningProgress:
    """Shows how many networks are tuned, for how many epochs, and the time left; a context manager."""

    def __init__(self, goals: Goals) -> None:
        self._goals = goals
        self._progress = progress_bar(MofNCompleteColumn(), "{task.fields[epochs]}", "{task.fields[last]}", "tune")
        self._task = self._progress.add_task("tune", total=None, epochs="", last="")

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *raised: Any) -> None:
        self._progress.stop()

    def start(self, networks: int, epochs: int) -> None:
        """Begin a round of tunings."""
        told = f"{epochs} epoch{'' if epochs == 1 else 's'} each"
        self._progress.reset(self._task, total=networks, epochs=told, last="")

    def on_network(self, metrics: Mapping[str, float]) -> None:
        """Count a network, and show its figures."""
        figures = ", ".join(f"{name} {metrics[name]:.4g}" for name in self._goals.metrics if name in metrics)
        self._progress.update(self._task, advance=1, last=f"last: {figures}" if figures else "")
