"""Tells what differs between the settings of a search and those with which it was asked to go on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

LONGEST = 30
"""Characters of a value that is shown."""


def told_changes(key: str, found: Any, wanted: Any) -> str:
    """The name of a setting that changed and, where they are short, the keys in it with both values.

    >>> told_changes("strategy", ["gradient", {"epochs": 30, "pace": 1.0}], ["gradient", {"epochs": 31, "pace": 1.0}])
    'strategy (epochs was 30, is 31)'
    >>> told_changes("model", "5e1f", "77a0")
    'model'
    """
    changes = [
        f"{name} was {old!r}, is {new!r}"
        for name, old, new in _changes(found, wanted)
        if max(len(repr(old)), len(repr(new))) <= LONGEST
    ]
    return f"{key} ({'; '.join(dict.fromkeys(changes))})" if changes else key


def _changes(found: Any, wanted: Any) -> Iterator[tuple[str, Any, Any]]:
    """The innermost keys whose values differ, with both values."""
    if isinstance(found, Mapping) and isinstance(wanted, Mapping):
        for name in sorted({*found, *wanted}):
            old, new = found.get(name), wanted.get(name)
            if old != new:
                inner = list(_changes(old, new))
                yield from inner or [(name, old, new)]
    elif isinstance(found, (list, tuple)) and isinstance(wanted, (list, tuple)) and len(found) == len(wanted):
        for old, new in zip(found, wanted, strict=True):
            yield from _changes(old, new)
