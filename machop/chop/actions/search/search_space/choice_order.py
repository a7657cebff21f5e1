"""Brings the lists of a search space into one order, where the order in which they were written must decide nothing."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

TABLES = ("seed", "override")


def ordered(choices: Iterable[Any]) -> list[Any]:
    """Choices in one order: numbers by value, then all others by their text.

    >>> ordered([8, "auto", 2, "NA", 0.5, True])
    [0.5, 2, 8, 'NA', 'auto', True]
    """
    return sorted(choices, key=_place)


def with_ordered_lists(table: Mapping[str, Any]) -> dict[str, Any]:
    """A table `search_space` with the lists in its `config` tables in one order.

    >>> with_ordered_lists({"name": "own", "seed": {"linear": {"config": {"weight_width": [8, 4]}}}})
    {'name': 'own', 'seed': {'linear': {'config': {'weight_width': [4, 8]}}}}
    """
    return {key: _ordered_entries(value) if key in TABLES else value for key, value in table.items()}


def _ordered_entries(entries: Any) -> Any:
    if not isinstance(entries, Mapping):
        return entries
    return {name: _ordered_entry(entry) if isinstance(entry, Mapping) else entry for name, entry in entries.items()}


def _ordered_entry(entry: Mapping[str, Any]) -> dict[str, Any]:
    config = entry.get("config")
    if not isinstance(config, Mapping):
        return dict(entry)
    lists = {key: ordered(value) if isinstance(value, list) else value for key, value in config.items()}
    return {**entry, "config": lists}


def _place(value: Any) -> tuple[bool, float, str]:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return not is_number, value if is_number else 0.0, json.dumps(value, default=repr)
