"""Shows progress in a notebook: one line below the cell, which changes in place."""

from __future__ import annotations

from dataclasses import dataclass, field
from html import escape
from typing import Any
from uuid import uuid4

from rich.progress import Task

from chop.report.plain_progress import PlainProgress

METADATA = {"chop": "progress"}
"""Marks the output of a cell that is a bar, so that a stored notebook can do without it."""


@dataclass
class NotebookLine:
    """The line of a cell that all bars of a call share."""

    _name: str = field(default_factory=lambda: uuid4().hex)
    _is_there: bool = False
    _kept: tuple[str, float | None] = ("", 1.0)

    def show(self, text: str, share: float | None) -> None:
        """Show a text behind a bar of which a share is done; None: how much there is to do is not known."""
        from IPython.display import display

        bar = "<progress></progress>" if share is None else f'<progress value="{share:.4f}" max="1"></progress>'
        html = f'{bar} <span style="font-family: monospace">{escape(text)}</span>' if text else ""
        own: Any = {"text/plain": text, "text/html": html}
        about: Any = {"metadata": METADATA, "display_id": self._name, "update": self._is_there}
        display(own, raw=True, **about)  # type: ignore[no-untyped-call]
        self._is_there = True

    def keep(self, text: str, share: float | None) -> None:
        """Show a text that stays until another one is kept."""
        self._kept = (text, share)
        self.show(text, share)

    def restore(self) -> None:
        """Show the text that was kept last."""
        if self._is_there:
            self.show(*self._kept)


class NotebookProgress(PlainProgress):
    """A bar in the line of a cell. A `transient` one leaves what was there before it."""

    seconds, separator = 0.1, " · "

    def __init__(self, line: NotebookLine, *columns: Any, transient: bool = False, **settings: Any) -> None:
        super().__init__(*columns, auto_refresh=False, **settings)
        self._line, self._is_transient = line, transient

    def start(self) -> None:
        """Show the bar."""
        self._show()

    def stop(self) -> None:
        """Show the state at the end, and the time that it took."""
        for task in self.tasks:
            self.stop_task(task.id)
        if self.disable:
            return
        if self._is_transient:
            self._line.restore()
        else:
            for task in self.tasks:
                self._line.keep(self.line(task), task.completed / task.total if task.total else 1.0)

    def show(self, task: Task) -> None:
        """Show a task in the line."""
        self._line.show(self.line(task), task.completed / task.total if task.total else None)
