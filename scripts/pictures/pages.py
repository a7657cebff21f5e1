"""Tables between two comments of a page, which `make pictures` writes."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
Rows = list[str]
"""The lines of a table in Markdown."""


def table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> Rows:
    """The lines of a table."""
    lines = [_line(head), "|" + "---|" * len(head)]
    return lines + [_line([str(cell) for cell in row]) for row in rows]


def with_table(text: str, name: str, rows: Rows) -> str:
    """The text of a page with the lines of the table `name` in place of the earlier ones."""
    pattern = _place_of(name)
    if not pattern.search(text):
        raise SystemExit(f"the page has no place for the table '{name}': write <!-- table {name} --> and <!-- end -->")
    return pattern.sub(lambda found: f"{found[1]}\n" + "\n".join(rows) + f"\n\n{found[3]}", text)


def table_in(text: str, name: str) -> Rows:
    """The lines of the table `name` that a page holds; none where it has no such table."""
    found = _place_of(name).search(text)
    return found[2].strip().splitlines() if found else []


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _place_of(name: str) -> re.Pattern[str]:
    """The comment before a table, its lines, and the comment behind it."""
    return re.compile(rf"(<!-- table {name}[^\n]*-->\n)(.*?)(<!-- end -->)", re.DOTALL)
