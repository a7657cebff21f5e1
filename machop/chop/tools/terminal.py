"""Where tables, bars and lines are shown."""

from __future__ import annotations

from typing import Any

from rich.console import Console


def terminal(**settings: Any) -> Console:
    """The terminal, by rich's `Console`; names are shown as they are (`:one:` is no picture)."""
    return Console(emoji=False, **settings)
