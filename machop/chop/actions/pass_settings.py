"""Checks the tables `[passes.*]` and `[transform]` of a TOML file before anything runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from chop.config.run_config import RunConfig
from chop.config.typed import parse_table, shown
from chop.errors import ChopError
from chop.passes.graph.registry import missing_before, needs_of


@dataclass(frozen=True)
class TransformTable:
    """The table `[transform]`."""

    style: Literal["graph"] = "graph"


def pass_problems(run_config: RunConfig) -> list[str]:
    """Problems of `[transform]`, and of `[passes.*]`: unknown passes, values in place of tables, unknown keys."""
    _, found = parse_table(TransformTable, run_config.tables.get("transform", {}))
    problems = [run_config.line_of(problem.below("transform")) for problem in found]
    passes = run_config.tables.get("passes", {})
    if not isinstance(passes, Mapping):
        return [*problems, f"{run_config.where('passes')}: passes: expected tables [passes.*], got {shown(passes)}"]
    for name, table in passes.items():
        where = f"{run_config.where('passes', name)}: passes.{name}"
        try:
            list(missing_before(name, set()))
        except ChopError as error:
            problems.append(f"{where}: {error}")
            continue
        if not isinstance(table, Mapping):
            problems.append(f"{where}: expected a table, got {shown(table)}")
        elif check := needs_of(name).problems:
            problems += [run_config.line_of(problem.below("passes", name)) for problem in check(table)]
    return problems
