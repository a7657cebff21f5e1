"""Finds the keys in the tables of a space of formats that no node of the model reads."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from chop.actions.search.search_space.choice_problems import ChoiceProblems
from chop.actions.search.search_space.node_choices import NodeChoices
from chop.actions.search.search_space.patterns import matching
from chop.actions.search.search_space.table_problems import Tables
from chop.actions.search.search_space.transform_choices import idle_choices_problem
from chop.nn.node_config import effect_problem, split_key
from chop.nn.ops import OP_TABLE, OPS, Op
from chop.passes.graph.node_selection import DEFAULT


def unread_lists(
    key: str, lists: Mapping[str, list[Any]], served: Collection[Op], nodes: Mapping[str, Op]
) -> dict[str, str]:
    """The problems of the lists of a seed that no node reads, or that are for operands that no node has.

    `served` are the ops of the nodes that have their choices from this seed, `nodes` those of the model.
    """
    if not served:
        return ChoiceProblems(NodeChoices(key, _op_meant(key, nodes), dict(lists))).problems()
    read = {operand for op in served for operand in op.operands}
    named = {name: split_key(name) for name in lists}
    unread = {name for name, where in named.items() if where and where[0] not in read}
    problems = ChoiceProblems(NodeChoices(key, OPS[0], dict(lists))).problems() if unread else {}
    return {name: text for name, text in problems.items() if name in unread}


def _op_meant(key: str, nodes: Mapping[str, Op]) -> Op:
    """The op that an unused seed is probably for: the one that it names, else the one with most operands."""
    named = OP_TABLE.working().get(key)
    return nodes.get(key) or (named if named is not None and named.quantizable else OPS[0])


def keys_without_effect(
    seed: Tables, override: Tables, by: str, nodes: Mapping[str, NodeChoices], chosen: Mapping[str, str | None]
) -> dict[tuple[str, ...], str]:
    """The problems of keys that have no effect on any of the nodes that they are for; `chosen` is the seed of each.

    A default is for nodes of all kinds, so its keys may be for some that a model lacks.
    """
    readers = {("seed", key): [name for name, own in chosen.items() if own == key] for key in seed}
    readers |= {("override", pattern): matching([pattern], nodes) for pattern in override}
    found: dict[tuple[str, ...], str] = {}
    for (table, key), names in readers.items():
        is_default, is_for_type = (table, key) == ("seed", DEFAULT), table == "seed" and by == "type"
        for own in (seed if table == "seed" else override)[key]["config"]:
            unread = {name: effect_problem(own, nodes[name].op, is_for_type) for name in names}
            counted = {name: text for name, text in unread.items() if not (is_default and text)}
            told = {name: text or idle_choices_problem(own, nodes[name].choices) for name, text in counted.items()}
            if told and all(told.values()):
                found[table, key, "config", own] = f"{told[next(iter(told))]} (node '{next(iter(told))}')"
    return found
