"""Shows a progress bar as lines, where the output is no terminal."""

from __future__ import annotations

import time
from typing import Any

from rich.progress import BarColumn, Progress, ProgressColumn, Task, TaskID
from rich.text import Text


class PlainProgress(Progress):
    """A bar that prints a line now and then, and a last one when it ends; nothing in it moves."""

    seconds = 5.0
    """Between two lines."""

    separator = " "
    """Between the parts of a line."""

    _last = float("inf")  # until it is started

    def start(self) -> None:
        """Begin to count the seconds to the first line."""
        self._last = time.monotonic()

    def stop(self) -> None:
        """Print the last line."""
        self._show()

    def update(self, task_id: TaskID, **values: Any) -> None:
        """Take over new values of a task, and print a line if the last one is some seconds old."""
        super().update(task_id, **values)
        self.refresh()

    def refresh(self) -> None:
        """Print a line if the last one is some seconds old."""
        if time.monotonic() - self._last >= self.seconds:
            self._show()

    def _show(self) -> None:
        self._last = time.monotonic()
        if self.disable:
            return
        for task in self.tasks:
            self.show(task)

    def show(self, task: Task) -> None:
        """Print the line of a task."""
        self.console.print(self.line(task), soft_wrap=True, highlight=False, markup=False)

    def line(self, task: Task) -> str:
        """The progress of a task in words."""
        words = [_words(column, task) for column in self.columns if not isinstance(column, BarColumn)]
        return self.separator.join(filter(None, words))


def _words(column: str | ProgressColumn, task: Task) -> str:
    """The text of a column, without its style."""
    shown = column.format(task=task) if isinstance(column, str) else column(task)
    return (Text.from_markup(shown).plain if isinstance(shown, str) else str(shown)).strip()
