"""Splits tables that are wider than the terminal into several ones."""

from __future__ import annotations

from collections.abc import Sequence

GAP = 2
"""Spaces between two columns."""


def widths(rows: Sequence[Sequence[str]]) -> list[int]:
    """The width of each column in characters, with the gap after it."""
    return [max(len(line) for text in column for line in text.split("\n")) + GAP for column in zip(*rows, strict=True)]


def stacks(columns: Sequence[int], width: int) -> list[list[int]]:
    """The columns, by number, of each part of a split table; the first column is in all parts.

    >>> stacks([5, 10, 10, 4], 25), stacks([5, 10, 10, 4], 16)
    ([[0, 1, 2], [0, 3]], [[0, 1], [0, 2], [0, 3]])
    """
    found: list[list[int]] = [[0]]
    for place, own in enumerate(columns[1:], start=1):
        taken = sum(columns[other] for other in found[-1])
        if len(found[-1]) > 1 and taken + own > width + GAP:
            found.append([0])
        found[-1].append(place)
    return found
