"""Shows a progress bar as lines, where the output is no terminal."""

from __future__ import annotations

import time
from typing import Any

from rich.progress import BarColumn, Progress, ProgressColumn, Task, TaskID
from rich.text import Text

SECONDS_BETWEEN_LINES = 5.0


class PlainProgress(Progress):
    """A bar that prints a line now and then, and a last one when it ends; nothing in it moves."""

    _last = float("-inf")

    def start(self) -> None:
        """Begin to count the seconds to the first line."""
        self._last = time.monotonic()

    def stop(self) -> None:
        """Print the last line."""
        self._print()

    def update(self, task_id: TaskID, **values: Any) -> None:
        """Take over new values of a task, and print a line if the last one is some seconds old."""
        super().update(task_id, **values)
        if time.monotonic() - self._last >= SECONDS_BETWEEN_LINES:
            self._print()

    def _print(self) -> None:
        self._last = time.monotonic()
        if self.disable:
            return
        for task in self.tasks:
            words = [_words(column, task) for column in self.columns if not isinstance(column, BarColumn)]
            line = " ".join(filter(None, words))
            self.console.print(line, soft_wrap=True, highlight=False, markup=False)


def _words(column: str | ProgressColumn, task: Task) -> str:
    """The text of a column, without its style."""
    shown = column.format(task=task) if isinstance(column, str) else column(task)
    return (Text.from_markup(shown).plain if isinstance(shown, str) else str(shown)).strip()
