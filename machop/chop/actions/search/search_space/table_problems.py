"""Checks the tables of a space of formats as far as that needs no model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from chop.actions.search.search_space.base import SpaceSetup
from chop.actions.search.search_space.choice_problems import ChoiceProblems
from chop.actions.search.search_space.node_choices import NodeChoices
from chop.actions.search.search_space.patterns import broken_pattern
from chop.config.typed import Problem
from chop.nn.ops import OPS
from chop.passes.graph.node_selection import BY

Tables = Mapping[str, Any]


def layout_problems(seed: Tables, setup: SpaceSetup, override: Tables) -> list[Problem]:
    """The problems of the shape of the tables, of `by`, of patterns that are none, and of useless ties."""
    if setup.by not in BY:
        return [Problem(("setup", "by"), f"expected one of {', '.join(BY)}, got {setup.by!r}")]
    if not seed:
        return [Problem(("seed",), "is empty: no layer has anything to choose from")]
    problems = [
        Problem((table, key), "must hold a table 'config' of lists")
        for table, entries in (("seed", seed), ("override", override))
        for key, entry in entries.items()
        if not isinstance(entry, Mapping) or set(entry) != {"config"} or not isinstance(entry["config"], Mapping)
    ]
    return [*problems, *_broken_patterns(setup, override), *_useless_ties(setup)]


def list_problems(seed: Tables, override: Tables) -> list[Problem]:
    """The problems of lists that no layer could have: unknown formats, keys of no format, empty or repeated values."""
    return [
        Problem((table, key, "config", name), text)
        for table, entries in (("seed", seed), ("override", override))
        for key, entry in entries.items()
        for name, text in ChoiceProblems(NodeChoices(key, OPS[0], lists_of(entry["config"]))).of_any_node().items()
    ]


def lists_of(config: Mapping[str, Any]) -> dict[str, list[Any]]:
    """The choices of a table `config`; a value alone is a list of one."""
    return {name: value if isinstance(value, list) else [value] for name, value in config.items()}


def _broken_patterns(setup: SpaceSetup, override: Tables) -> list[Problem]:
    patterns = [(("setup", "exclude"), pattern) for pattern in setup.exclude]
    patterns += [(("setup", "tie"), pattern) for group in setup.tie for pattern in group]
    patterns += [(("override", pattern), pattern) for pattern in override]
    return [Problem(path, message) for path, pattern in patterns if (message := broken_pattern(pattern))]


def _useless_ties(setup: SpaceSetup) -> list[Problem]:
    problems = [Problem(("setup", "tie"), "has an empty group; remove it") for group in setup.tie if not group]
    operands = setup.tie_operands
    if len(operands) != len(set(operands)):
        problems.append(Problem(("setup", "tie_operands"), f"names an operand twice: {', '.join(operands)}"))
    if len(operands) == 1:
        problems.append(Problem(("setup", "tie_operands"), f"ties {operands[0]} to nothing: name two operands or more"))
    return problems
