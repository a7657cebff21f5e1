"""Converts a search from Python to the equivalent TOML file, and a TOML file to arguments."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import tomlkit

from chop.actions.search.settings.runners import GROUPS
from chop.actions.search.strategies.base import STRATEGIES
from chop.actions.search.strategies.runners.base import RUNNERS
from chop.api.arguments import RENAMED, SETUP
from chop.api.metrics import usual_group
from chop.api.plain_values import plain
from chop.api.space import Space
from chop.config.options import RunOptions
from chop.config.run_config import load_run_config
from chop.errors import ConfigError
from chop.executors import EXECUTORS
from chop.formats import FORMATS

WRITTEN = (
    "model", "dataset", "task", "load_name", "is_pretrained", "batch_size", "seed", "accelerator", "max_token_len",
)  # fmt: skip
"""The options of a TOML file that decide a search; the others are for training."""

ARGUMENTS = {
    "dataset": "data", "load_name": "weights", "is_pretrained": "pretrained", "accelerator": "device",
}  # fmt: skip
REFUSED = ("load_type", "load_weights")


def as_toml(options: RunOptions, search: Mapping[str, Any], has_functions: bool = False) -> str:
    """The TOML file of a search; comments list Python objects that it cannot hold.

    `has_functions`: the data have a loss or metrics that are functions.

    Raises ConfigError for a value that TOML has no form for.
    """
    values = {name: value for name in WRITTEN if (value := getattr(options, name)) is not None}
    if options.load_name:
        values["load_name"] = str(Path(options.load_name).resolve())
    try:
        text = tomlkit.dumps({**values, "search": plain(search)})
    except (TypeError, ValueError) as error:
        raise ConfigError([f"an argument has a value that TOML cannot hold ({error})"]) from error
    return "".join(f"# {line}\n" for line in _notes(options, search, has_functions)) + text


def load_config(path: Path | str) -> dict[str, Any]:
    """A TOML file as arguments: `chop.search(**chop.load_config("mine.toml"))`.

    A model or data set that the file does not name is left out: give it beside. Tables other than `[search]`, and the
    options of training, are no arguments of a search. Raises ConfigError with all that is wrong at the top of the file.
    """
    config = load_run_config(Path(path), {})
    problems = [problem for problem in config.problems if problem not in config.not_named]
    problems += [f"{config.where(name)}: {name}: {_LOAD_IT}" for name in REFUSED if getattr(config.options, name)]
    table = config.tables.get("search")
    if not isinstance(table, Mapping):
        problems.append(f"{path}: there is no table [search]")
    if problems:
        raise ConfigError(problems)
    given = [name for name in WRITTEN if config.sources[name] == "file"]
    own = {ARGUMENTS.get(name, name): getattr(config.options, name) for name in given}
    return {**own, **search_arguments(table)}  # type: ignore[arg-type]


_LOAD_IT = "load the weights into a module and give it as model="


def search_arguments(table: Mapping[str, Any]) -> dict[str, Any]:
    """A table `[search]` as arguments."""
    strategy = dict(table.get("strategy", {}))
    setup = dict(strategy.get("setup", {}))
    metrics: Mapping[str, Mapping[str, Any]] = strategy.get("metrics", {})
    found: dict[str, Any] = {"space": Space.from_table(table.get("search_space", {}))}
    found |= {
        key: strategy[own] for key, own in {"strategy": "name", "eval_mode": "eval_mode"}.items() if own in strategy
    }
    found |= {RENAMED.get(key, key): setup.pop(key) for key in SETUP if key in setup}
    if setup.pop("sum_scaled_metrics", False):
        found["sum_direction"] = setup.pop("direction", None)
    found["objectives"] = {name: dict(own) for name, own in metrics.items() if not _is_constraint(own)}
    found["constraints"] = {name: dict(own) for name, own in metrics.items() if _is_constraint(own)}
    groups = {group: {name: dict(own) for name, own in strategy.get(group, {}).items()} for group in GROUPS}
    is_usual = all(name in RUNNERS and usual_group(name) == group for group in GROUPS for name in groups[group])
    found["runners"] = {name: own for group in GROUPS for name, own in groups[group].items()} if is_usual else groups
    found |= {"finish": dict(table["finish"])} if "finish" in table else {}
    return {**found, **({"strategy_options": setup} if setup else {})}


def _is_constraint(table: Mapping[str, Any]) -> bool:
    """Whether the table of a metric has bounds, and nothing that makes it an objective."""
    return bool(table) and not {"scale", "direction"} & set(table)


def _notes(options: RunOptions, search: Mapping[str, Any], has_functions: bool) -> Iterator[str]:
    """Options to add on the command line for objects of Python."""
    if options.model is None:
        load = "" if options.load_name else " --load WEIGHTS"
        yield f"The model is an object of Python: add --model FILE.py:FUNCTION{load}."
    if options.dataset is None or has_functions:
        what = ", the loss and the metrics" if has_functions else ""
        yield f"The data are objects of Python: add --dataset FILE.py:FUNCTION, which returns the same parts{what}."
    for what in _own_classes(search):
        yield f"{what} is a class of your own: add --plugin FILE.py, which registers it."


def _own_classes(search: Mapping[str, Any]) -> Iterator[str]:
    """The strategy, runners, executor and formats that are not of this package."""
    strategy = search["strategy"]
    entries = [*search["search_space"].get("seed", {}).values(), *search["search_space"].get("override", {}).values()]
    formats = {name for entry in entries for name in entry["config"].get("name", ()) if name in FORMATS}
    named: list[tuple[str, str, Any]] = [("strategy", strategy["name"], STRATEGIES)]
    named += [("runner", name, RUNNERS) for group in GROUPS for name in strategy.get(group, {})]
    named += [("executor", name, EXECUTORS) for name in [strategy.get("setup", {}).get("executor")] if name]
    named += [("format", name, FORMATS) for name in sorted(formats)]
    for noun, name, registry in named:
        if name in registry and not registry[name].__module__.startswith("chop."):
            yield f"The {noun} '{name}'"
