"""Selects the entry of a config (`by = "type" | "name" | "regex_name"`) for each node."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from chop.errors import PassError, did_you_mean
from chop.nn.ops import OP_TABLE, Op, quantizable_op_names
from chop.tools.logger import get_logger

logger = get_logger(__name__)

BY = ("type", "name", "regex_name")
DEFAULT = "default"

MOST_NAMED = 8
"""Layers that a message names."""


def select_entries(keys: Iterable[str], by: str, nodes: Mapping[str, Op]) -> dict[str, str | None]:
    """The key of the entry for every quantisable node: its own, else `default`, else None.

    With `regex_name` a key serves a node whose whole name it matches; the first of several wins.
    """
    entries = [key for key in keys if key != DEFAULT and (by != "regex_name" or _is_pattern(key))]
    fallback = DEFAULT if DEFAULT in keys else None
    return {name: _entry_of(name, op, by, entries) or fallback for name, op in nodes.items()}


def matches(entry: str, by: str, name: str, op: str) -> bool:
    """Whether an entry means the node `name` of type `op`: its op, its name, or a pattern for its whole name."""
    if by == "regex_name":
        return re.fullmatch(entry, name) is not None
    if by == "name":
        return entry == name
    return entry.replace("_", "") == op.replace("_", "")  # convtranspose1d, layernorm … are written either way


def _entry_of(name: str, op: Op, by: str, entries: list[str]) -> str | None:
    return next((entry for entry in entries if matches(entry, by, name, op.name)), None)


def selection_problems(keys: Iterable[str], by: str, nodes: Mapping[str, Op]) -> dict[str, str]:
    """The problems of the keys, as {key: problem}; keys that match no node are logged.

    A file may hold entries for another `by` (`linear` beside `seq_blocks_2`), which is logged at debug level. Any other
    key is an error only if it looks like a misspelt node or op.
    """
    unused = [key for key in keys if key != DEFAULT and not _serves_any(key, by, nodes)]
    known = {DEFAULT, *nodes, *quantizable_op_names()}
    problems = {}
    for key in unused:
        hint = did_you_mean(key, known) if key not in known else ""
        if key in OP_TABLE.broken():
            problems[key] = OP_TABLE.broken()[key]
        elif hint:
            problems[key] = f"no node or op is called '{key}'{hint}"
        elif by == "regex_name" and not _is_pattern(key):
            problems[key] = f"'{key}' is no regular expression"
        else:
            told = logger.debug if key in known else logger.warning  # a known name is for another `by`
            told("'%s' matches no node of this model with by = \"%s\": it is left out", key, by)
    return problems


def no_match(by: str, nodes: Mapping[str, Op]) -> str:
    """Words for entries that match none of the nodes: what could be matched."""
    layers = [f"{name} ({op.name})" for name, op in nodes.items() if op.multiplies] or ["none"]
    more = f" and {len(layers) - MOST_NAMED} more" if len(layers) > MOST_NAMED else ""
    there = ", ".join(layers[:MOST_NAMED]) + more
    return f'matches any node of this model with by = "{by}"; its layers, by name (type): {there}'


def _serves_any(key: str, by: str, nodes: Mapping[str, Op]) -> bool:
    if by == "regex_name" and not _is_pattern(key):
        return False
    return any(_entry_of(name, op, by, [key]) for name, op in nodes.items())


def _is_pattern(text: str) -> bool:
    try:
        re.compile(text)
    except re.error:
        return False
    return True


def check_by(by: Any) -> str:
    """Return `by` if it is one of type, name and regex_name; raises PassError."""
    if by not in BY:
        hint = did_you_mean(by, BY) if isinstance(by, str) else ""
        raise PassError(f"by: expected one of {', '.join(BY)}, got {by!r}{hint}")
    return str(by)
