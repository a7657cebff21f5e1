"""Reads the tables of runners: which ones a search has, their options, and their metrics."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from chop.actions.search.settings.shared_samples import samples_problems, with_shared_samples
from chop.actions.search.settings.tables import RunnerChoice, StrategyTable, name_problem, parse_below
from chop.actions.search.strategies.runners.base import RUNNERS, RunnerBase
from chop.actions.search.strategies.runners.checks import declared_metrics
from chop.config.typed import Problem
from chop.dataset.data import Data
from chop.errors import ChopError, did_you_mean
from chop.scoring.metric import Metric

GROUPS = ("sw_runner", "hw_runner")


def parse_runners(strategy: StrategyTable, data_module: Data | None) -> tuple[tuple[RunnerChoice, ...], list[Problem]]:
    """The runners of `sw_runner` and `hw_runner` with their options, and the problems of these tables.

    With problems, runners may be missing. Metrics that two runners return are found only with `data_module`.
    """
    runners: list[RunnerChoice] = []
    tables: dict[str, Mapping[str, Any]] = {}
    problems: list[Problem] = []
    for group in GROUPS:
        for name, table in getattr(strategy, group).items():
            path = ("strategy", group, name)
            unknown = name_problem(RUNNERS, name, *path)
            options, found = (None, []) if unknown else parse_below(RUNNERS[name].Options, table, *path)
            problems += unknown + found
            if options is not None:
                runners.append(RunnerChoice(group, RUNNERS.canonical(name), options))  # type: ignore[arg-type]
                tables[RUNNERS.canonical(name)] = table
    problems += samples_problems(runners)
    if data_module is not None:
        problems += _metrics_given_twice(runners, data_module)
    if not runners and not problems:
        problems.append(Problem(("strategy",), "names no runner: add [search.strategy.sw_runner.basic_evaluation]"))
    return tuple(runners) if problems else with_shared_samples(runners, tables), problems


def _metrics_given_twice(runners: Iterable[RunnerChoice], data_module: Data | None) -> list[Problem]:
    """The problem of two runners with a metric of the same name."""
    givers: dict[str, RunnerChoice] = {}
    problems = []
    for runner in runners:
        for metric in declared_metrics(RUNNERS[runner.name], data_module):
            other = givers.setdefault(metric.name, runner)
            if other is not runner:
                message = f"'{metric.name}' is returned by {other.name} as well; remove one of the two"
                problems.append(Problem(("strategy", runner.group, runner.name), message))
                break
    return problems


def wanted_runners(
    runners: Iterable[RunnerChoice], metrics: Collection[str], data_module: Data | None
) -> list[RunnerChoice]:
    """The runners that return any of some metrics."""
    return [
        runner
        for runner in runners
        if any(metric.name in metrics for metric in declared_metrics(RUNNERS[runner.name], data_module))
    ]


def known_metrics(strategy: StrategyTable, data_module: Data | None) -> dict[str, Metric]:
    """The metrics of the runners that the file names, by name."""
    classes = [_loaded(name) for group in GROUPS for name in getattr(strategy, group)]
    return {metric.name: metric for cls in classes if cls for metric in declared_metrics(cls, data_module)}


def _loaded(name: str) -> type[RunnerBase] | None:
    """A runner; None if it is unknown or its package is broken, which `parse_runners` reports."""
    try:
        return RUNNERS[name]
    except ChopError:
        return None


def _declared_names(cls: type[RunnerBase]) -> set[str]:
    """The names of a runner's metrics; none if the runner fails to declare them."""
    try:
        return {metric.name for metric in declared_metrics(cls, None)}
    except ChopError:
        return set()


def missing_metric(name: str, known: Mapping[str, Metric], strategy: StrategyTable) -> Problem | None:
    """The problem of a metric that the file asks for and none of its runners returns.

    None where a runner of the file is unknown, which is a problem of its own, and may be meant to return it.
    """
    giving = [runner for runner, cls in RUNNERS.working().items() if name in _declared_names(cls)]
    misspelt = "" if giving else did_you_mean(name, known)
    if not misspelt and not all(_loaded(runner) for group in GROUPS for runner in getattr(strategy, group)):
        return None
    there = [runner for runner in giving if any(runner in getattr(strategy, group) for group in GROUPS)]
    if there:
        return Problem(
            (name,),
            f"{there[0]} returns it only for targets that are classes, and these are not: classes are integers from 0 "
            "(no booleans), one per sample",
        )
    if giving:
        return Problem((name,), f"no runner of this file returns it; add one of: {', '.join(giving)}")
    hint = misspelt or f"; the runners of this file return: {', '.join(known) or 'none'}"
    return Problem((name,), f"no runner returns a metric of that name{hint}")
