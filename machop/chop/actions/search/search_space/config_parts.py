"""Splits the configs of a node into parts that depend on few keys each, so that a record can hold all of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

from chop.actions.search.search_space.choice_keys import operand_of
from chop.actions.search.search_space.node_choices import NodeChoices
from chop.actions.search.search_space.transform_choices import combinations
from chop.nn.node_config import BIAS_CORRECTION, GLOBAL_KEYS, is_transform_key

NAME = "name"
MOST_CONFIGS = 20_000
"""Configs of all parts of a space that are written down."""


@dataclass(frozen=True)
class _Part:
    """Keys that decide together, and the keys of a config that follow from them."""

    deciding: Sequence[str]
    decided: frozenset[str]


def config_parts(nodes: Mapping[str, NodeChoices], leaders: Mapping[str, str]) -> dict[str, Any]:
    """The configs of all nodes, as `{"nodes": {node: leader}, "parts": [{"keys", "sizes", "configs", "nodes"}]}`.

    The config of a node at a point is that of all its parts together. A part has one for each combination of its
    `keys`, the last fastest; `leader/config/key` is the key of the point, and one with a single choice is left out.
    Empty where there are very many.
    """
    parts = [(name, part) for name, node in nodes.items() for part in _parts(node)]
    if sum(prod(len(nodes[name].choices[key]) for key in part.deciding) for name, part in parts) > MOST_CONFIGS:
        return {}
    found: list[dict[str, Any]] = []
    for name, part in parts:
        own = _written(nodes[name], part)
        same = next((other for other in found if all(other[key] == own[key] for key in own)), None)
        if same is None:
            found.append(same := {**own, "nodes": []})
        same["nodes"].append(name)
    return {"nodes": {name: leaders.get(name, name) for name in nodes}, "parts": found}


def _parts(node: NodeChoices) -> Iterator[_Part]:
    """A part for each operand with keys, one for weight transforms and one for the whole node; one at least."""
    head = [key for key in node.choices if key in GLOBAL_KEYS]
    groups: dict[str, list[str]] = {}
    for key in node.stated:
        if key != NAME:
            groups.setdefault(_group(node.tied_keys.get(key, key)), []).append(key)
    for own in groups.values() or [[]]:
        leading = (node.tied_keys.get(key, key) for key in own)
        yield _Part([*head, *dict.fromkeys(key for key in leading if key not in head)], frozenset([NAME, *own]))


def _group(key: str) -> str:
    if key == BIAS_CORRECTION:
        return "bias"
    return "" if key in GLOBAL_KEYS else "transforms" if is_transform_key(key) else operand_of(key) or ""


def _written(node: NodeChoices, part: _Part) -> dict[str, Any]:
    first = dict.fromkeys(node.choices, 0)
    configs = [node.stated_config({**first, **own}) for own in combinations(node.choices, part.deciding)]
    keys = [key for key in part.deciding if len(node.choices[key]) > 1]
    return {
        "keys": keys,
        "sizes": [len(node.choices[key]) for key in keys],
        "configs": [{key: own[key] for key in own if key in part.decided} for own in configs],
    }
