"""Patterns of nodes: regular expressions that must match a whole name."""

from __future__ import annotations

import re
from collections.abc import Iterable

from chop.errors import did_you_mean


def matching(patterns: Iterable[str], names: Iterable[str]) -> list[str]:
    """The names that any of the patterns matches, in their order."""
    patterns = list(patterns)
    return [name for name in names if any(re.fullmatch(pattern, name) for pattern in patterns)]


def broken_pattern(pattern: str) -> str | None:
    """The problem of a pattern as a regular expression; None if there is none."""
    try:
        re.compile(pattern)
    except re.error as error:
        return f"'{pattern}' is no regular expression ({error})"
    return None


def pattern_problem(pattern: str, names: list[str]) -> str | None:
    """The problem of a pattern that must match a name; None if there is none."""
    if broken := broken_pattern(pattern):
        return broken
    if any(re.fullmatch(pattern, name) for name in names):
        return None
    return f"'{pattern}' matches no node{did_you_mean(pattern, names)}"
