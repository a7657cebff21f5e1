"""The terminal for tables, bars and lines."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterable, Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table


def terminal(**settings: Any) -> Console:
    """The terminal, by rich's `Console`; names are shown as they are (`:one:` is no picture)."""
    replace_what_cannot_be_shown()
    return Console(emoji=False, **settings)


def print_sentence(console: Console, text: str, **style: Any) -> None:
    """Show a text for people: broken between words in a terminal, one line anywhere else."""
    console.print(text, soft_wrap=not console.is_terminal, highlight=False, markup=False, **style)


def table_of(headings: Sequence[str], rows: Iterable[Sequence[str]], **settings: Any) -> Table:
    """A table for the terminal, its cells shown as they are; `settings` are those of rich's `Table`."""
    table = Table(*headings, **settings)
    for row in rows:
        table.add_row(*map(escape, row))
    return table


def replace_what_cannot_be_shown() -> None:
    """Let standard output and error show `?` for characters that their encoding lacks."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and stream.errors != "replace":
            stream.reconfigure(errors="replace")
