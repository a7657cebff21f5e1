"""Turns objectives, constraints and runners into the tables of a TOML file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, fields, is_dataclass
from typing import Any

from chop.actions.search.settings.runners import GROUPS
from chop.actions.search.strategies.runners.base import RUNNERS, RunnerBase
from chop.actions.search.strategies.runners.checks import declared_metrics
from chop.dataset.data import Data
from chop.errors import ChopError, ConfigError, did_you_mean
from chop.scoring.metric import DIRECTIONS, Metric
from chop.scoring.own_functions import streams

EVALUATION, TRAINING = "basic_evaluation", "basic_train"

Table = dict[str, Any]


@dataclass(frozen=True)
class Goal:
    """A metric that is optimised: its name, its table, and the user's function that measures it, if any."""

    name: str
    table: Table
    function: Any = None


def goals_of(objectives: Any) -> list[Goal]:
    """Objectives given as names, `(name, direction)`, `(function, direction)`, or `{name: table}`."""
    if objectives is None:
        objectives = []
    if isinstance(objectives, str) or callable(objectives):
        objectives = [objectives]
    if isinstance(objectives, Mapping):
        found = [_named(name, own) for name, own in objectives.items()]
    else:
        found = [_goal(own) for own in objectives]
    if not found:
        raise ConfigError(["objectives: name at least one metric to optimise (ch info runner)"])
    names = [goal.name for goal in found]
    for name in sorted({name for name in names if names.count(name) > 1}):
        raise ConfigError([f"objectives: '{name}' is there twice"])
    return found


def _goal(own: Any) -> Goal:
    if isinstance(own, str):
        return _named(own, None)
    if isinstance(own, Metric):
        return _named(own.name, own.direction)
    if isinstance(own, (tuple, list)) and len(own) == 2:
        first, direction = own
        return _named(first, direction) if isinstance(first, str) else _of_function(first, direction)
    if callable(own):
        raise ConfigError([f"objectives: say which way {_name(own)} is better: (function, 'maximize' or 'minimize')"])
    raise ConfigError([f"objectives: expected names of metrics, or (function, direction), got {own!r}"])


def _named(name: str, own: Any) -> Goal:
    """A goal with its table; one without a scale has 1, as a table of constraints alone is no objective."""
    if own is None:
        return Goal(name, {"scale": 1.0})
    if isinstance(own, Mapping):
        return Goal(name, {"scale": 1.0, **own})
    return Goal(name, {"scale": 1.0, "direction": _direction(own)})


def _of_function(function: Any, direction: Any) -> Goal:
    if not callable(function):
        raise ConfigError([f"objectives: {function!r} is neither the name of a metric nor a function"])
    way = _direction(direction)
    if isinstance(function, type) and not streams(function):
        raise ConfigError([f"objectives: the class {_name(function)} has no update and result; give an object of it"])
    return Goal(_name(function), {"scale": 1.0}, (function, way))


def _direction(given: Any) -> str:
    if given in DIRECTIONS:
        return str(given)
    hint = did_you_mean(given, DIRECTIONS) if isinstance(given, str) else ""
    raise ConfigError([f"objectives: expected 'maximize' or 'minimize', got {given!r}{hint}"])


def _name(function: Any) -> str:
    name = str(getattr(function, "__name__", type(function).__name__))
    if not name.isidentifier():
        raise ConfigError([f"objectives: {name} has no name: give metrics={{'name': (function, 'minimize')}}"])
    return name


def metric_tables(goals: Sequence[Goal], constraints: Mapping[str, Mapping[str, Any]] | None) -> dict[str, Table]:
    """The tables of `[search.strategy.metrics]`."""
    tables = {goal.name: dict(goal.table) for goal in goals}
    for name, limits in (constraints or {}).items():
        tables[name] = {**tables.get(name, {}), **limits}
    return tables


def runner_tables(
    wanted: Mapping[str, str], given: Any, data_module: Data, num_samples: int | None, part: str
) -> dict[str, dict[str, Table]]:
    """The tables `sw_runner` and `hw_runner`: the runners that are `given`, and those that `wanted` metrics need.

    `wanted` says in which argument each metric is named.

    Raises ConfigError for a metric that nothing measures.
    """
    chosen, groups = _given(given)
    measured = {name: runner for runner in chosen for name in _names(RUNNERS[runner], data_module)}
    known = {name: runner for runner in _by_preference() for name in _names(RUNNERS[runner], data_module)}
    for name, argument in wanted.items():
        if name not in measured:
            runner = _runner_of(name, argument, known, data_module)
            chosen[runner] = {}
            measured |= dict.fromkeys(_names(RUNNERS[runner], data_module), runner)
    tables: dict[str, dict[str, Table]] = {"sw_runner": {}, "hw_runner": {}}
    for name, table in chosen.items():
        cls = RUNNERS[name]
        group = groups.get(name, usual_group(name))
        tables[group][name] = _on_samples(cls, table, num_samples, part)
    return {group: own for group, own in tables.items() if own}


def usual_group(runner: str) -> str:
    """The group that lists the metrics of a runner: hardware if they follow from formats alone."""
    return "hw_runner" if RUNNERS[runner].needs == "plan" else "sw_runner"


def _runner_of(metric: str, argument: str, known: Mapping[str, str], data_module: Data) -> str:
    if metric in known:
        return known[metric]
    on_other = {name for cls in RUNNERS.working().values() for name in _names(cls, None)}
    if metric in on_other:
        raise ConfigError(
            [
                f"{argument}: '{metric}' is no metric of these data, judged as {_task(data_module)} (task= says as "
                f"what). Theirs are {', '.join(sorted(known))}"
            ]
        )
    hint = did_you_mean(metric, known)
    raise ConfigError([f"{argument}: no metric '{metric}'{hint} (known: {', '.join(sorted(known))})"])


def _task(data_module: Data) -> str:
    return type(data_module.task).__name__.lower()


def _by_preference() -> list[str]:
    """The runners, the last one first that is asked for a metric: those that train are only used where named."""
    others = [name for name in RUNNERS.working() if name not in (EVALUATION, TRAINING)]
    return [*others, EVALUATION]


def _names(cls: type[RunnerBase], data_module: Data | None) -> list[str]:
    """The names of a runner's metrics; none of a runner that fails to tell them."""
    with suppress(ChopError):
        return [metric.name for metric in declared_metrics(cls, data_module)]
    return []


def _given(runners: Any) -> tuple[dict[str, Table], dict[str, str]]:
    """Runners as a user has them, by name, and the groups of those that are in one.

    They are names, classes, objects, `(runner, options)`, `{runner: options}`, or such dictionaries by group.
    """
    if isinstance(runners, Mapping) and runners and set(runners) <= set(GROUPS):
        grouped = {group: _by_name(own) for group, own in runners.items()}
        groups = {name: group for group, own in grouped.items() for name in own}
        return {name: table for own in grouped.values() for name, table in own.items()}, groups
    return _by_name(runners), {}


def _by_name(runners: Any) -> dict[str, Table]:
    if runners is None:
        return {}
    if isinstance(runners, Mapping):
        pairs = list(runners.items())
    else:
        several = [runners] if isinstance(runners, (str, type, RunnerBase)) else runners
        pairs = [own if isinstance(own, tuple) else (own, None) for own in several]
    return dict(_named_runner(own, options) for own, options in pairs)


def _named_runner(own: Any, options: Any) -> tuple[str, Table]:
    if isinstance(own, RunnerBase):
        own, options = type(own), own.options if options is None else options
    try:
        if isinstance(own, type) and issubclass(own, RunnerBase):
            return RUNNERS.adopt(own, own.__name__), _options(options)
        if isinstance(own, str):
            return RUNNERS.canonical(own), _options(options)
    except ChopError as error:
        raise ConfigError([f"runners: {error}"]) from error
    raise ConfigError([f"runners: expected names, subclasses of RunnerBase or objects of these, got {own!r}"])


def _options(options: Any) -> Table:
    """Options as a table: a dictionary, or an instance of a runner's `Options`."""
    if options is None:
        return {}
    if is_dataclass(options) and not isinstance(options, type):
        return {name: value for name, value in asdict(options).items() if value is not None}
    if isinstance(options, Mapping):
        return dict(options)
    raise ConfigError([f"runners: options are a dictionary or an instance of the runner's Options, got {options!r}"])


def _on_samples(cls: type[RunnerBase], table: Table, num_samples: int | None, part: str) -> Table:
    """The table of a runner that measures on samples, with those of `num_samples` and `part` where it states none."""
    keys = {field.name for field in fields(cls.Options)}
    number = "eval_samples" if "eval_samples" in keys else "num_samples"
    if "data_loader" not in keys or (cls.needs != "outputs" and number != "eval_samples"):
        return table
    own: Table = {"data_loader": f"{part}_dataloader"}
    own |= {} if num_samples is None else {number: num_samples}
    return {**own, **table}
