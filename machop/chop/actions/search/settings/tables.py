"""The tables of a runner and of a strategy as dataclasses, and functions that report problems by their path."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Literal

from chop.actions.search.strategies.runners.base import RUNNERS
from chop.config.later_keys import fingerprint_of_options
from chop.config.typed import Problem, parse_table
from chop.errors import ChopError


@dataclass(frozen=True)
class RunnerChoice:
    """A runner and its options; its metrics are reported as software or hardware metrics."""

    group: Literal["sw_runner", "hw_runner"]
    name: str
    options: Any

    def fingerprint(self) -> list[Any]:
        """The settings that decide a runner's figures: name, options, and the version of its metrics."""
        definition = RUNNERS[self.name].definition
        options = fingerprint_of_options(self.options)
        return [self.group, self.name, options, *([{"definition": definition}] if definition > 1 else [])]


@dataclass(frozen=True)
class StrategyTable:
    """The table `[search.strategy]` before its parts are read."""

    name: str
    metrics: dict[str, Any]
    eval_mode: bool = True
    setup: dict[str, Any] = field(default_factory=dict)
    sw_runner: dict[str, Any] = field(default_factory=dict)
    hw_runner: dict[str, Any] = field(default_factory=dict)


def parse_below(cls: type[Any], table: Any, *path: str, ignore: Iterable[str] = ()) -> tuple[Any, list[Problem]]:
    """A table as a dataclass (None if that is impossible); `path` is the path of its problems."""
    value, problems = parse_table(cls, table, ignore)
    return value, [problem.below(*path) for problem in problems]


def name_problem(registry: Any, name: str, *path: str) -> list[Problem]:
    """The problem of a name that a registry does not have."""
    try:
        _ = registry[name]
    except ChopError as error:
        return [Problem(path, str(error))]
    return []
