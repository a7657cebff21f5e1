"""Checks the table `[search]`: first what needs no data, then what needs no model, then the space of the model."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from torch import nn

from chop.actions.float_passes import apply_float_passes, pass_names_problem
from chop.actions.pass_settings import pass_problems
from chop.actions.search.export_target import SETUP, TARGET, kept_to_target, with_needed_passes
from chop.actions.search.run.declared_training import training_name_problems, training_problems
from chop.actions.search.run.input_fingerprint import fingerprint_of_inputs
from chop.actions.search.run.session import SearchSession
from chop.actions.search.search_space import SEARCH_SPACES, SearchSpaceBase
from chop.actions.search.settings.search import SearchSettings, parse_search_settings
from chop.actions.search.strategies.base import STRATEGIES
from chop.actions.setup import (
    prepare,
    resolve_accelerator,
    software_dir,
    tell_of_own_batches,
    traced,
    warn_of_untrained_weights,
)
from chop.config.options import RunOptions
from chop.config.run_config import RunConfig
from chop.config.typed import Problem, parse_table
from chop.dataset.data import Data
from chop.errors import ChopError, ConfigError
from chop.exporters.base import exporters_for
from chop.ir import MaseGraph
from chop.scoring.task import TASKS
from chop.tools.logger import get_logger, silenced

logger = get_logger(__name__)

SETTINGS = "chop.actions.search.settings"
"""The package that logs what is unusual in settings."""

Kind = TypeVar("Kind", bound=SearchSession)


@dataclass(frozen=True)
class _SpaceTables:
    """The table `search_space`, read."""

    space: type[SearchSpaceBase]
    seed: Mapping[str, Any]
    setup: Any
    override: Mapping[str, Any]
    is_sound: bool
    """Whether `setup` is the one of the file: else keys with problems are left out of it."""


def _as_key(problem: Problem) -> str:
    """A problem at the key of the table that it is about."""
    return f"search.{'.'.join(problem.path)}: {problem.message}"


def checked_call(
    kind: type[Kind],
    model: nn.Module,
    data_module: Data,
    search_config: Mapping[str, Any],
    folder: Path,
    seed: int,
    device: str,
    problems: Sequence[str] = (),
    told: Callable[[Problem], str] = _as_key,
    graph: MaseGraph | None = None,
) -> Kind:
    """A checked search of class `kind` from the table `[search]`.

    Raises ConfigError with all that is wrong with it, each problem as it is `told`, behind the `problems` that the
    caller has found.
    """
    settings, space, graph, found = check(model, data_module, search_config, graph, device)
    lines = [*problems, *dict.fromkeys(map(told, found))]
    if lines or settings is None or space is None:
        raise ConfigError(lines)
    _tell_of_space(space)
    input_fingerprint = fingerprint_of_inputs(model, data_module, settings, space, seed)
    space = kind.searched_space(settings, space, folder)
    return kind(settings, space, graph, data_module, folder, seed, device, input_fingerprint)


def checked_run(kind: type[Kind], run_config: RunConfig, folder: str, problems: Sequence[str] = ()) -> Kind:
    """A checked search of class `kind` from a TOML file and the command line, which writes to `folder`.

    Raises ConfigError with all that is wrong and needs no data, the caller's `problems` among it; else with all that
    needs no model; else with all that is wrong with the space of the model.
    """
    problems = [*problems, *_no_search_strategy(run_config.options.strategy)]
    table = run_config.tables.get("search")
    if table is None:
        raise ConfigError([*run_config.problems, *problems, _no_search(run_config)])

    problems = [*run_config.problems, *problems, *pass_problems(run_config)]

    def require_none(found: Sequence[Problem]) -> None:
        if lines := [*problems, *(run_config.line_of(problem.below("search")) for problem in found)]:
            raise ConfigError(lines)

    require_none(problems_without_data(table))
    prepared = prepare(run_config.options, lambda data: require_none(problems_without_model(table, data)))
    tell_of_own_batches(run_config.options, prepared.data_module)
    settings, space, graph, found = check(prepared.model, prepared.data_module, table)
    require_none(found)
    assert settings is not None and space is not None
    warn_of_untrained_weights(run_config.options)
    _tell_of_space(space)
    options = run_config.options
    where, device = software_dir(options) / folder, resolve_accelerator(options)
    input_fingerprint = {
        "model": options.model,
        "batch_size": options.batch_size,
        **fingerprint_of_inputs(prepared.model, prepared.data_module, settings, space, options.seed),
    }
    space = kind.searched_space(settings, space, where)
    return kind(settings, space, graph, prepared.data_module, where, options.seed, device, input_fingerprint)


def all_problems(run_config: RunConfig) -> list[str]:
    """All that is wrong with a file; empty for a right one.

    Data and model are read for that, if their options are right.
    """
    table = run_config.tables.get("search")
    lines = [*run_config.problems, *pass_problems(run_config)]
    found = problems_without_data(table) if table is not None else []
    options = run_config.options
    if options.model is not None and options.dataset is not None:
        try:
            found += _problems_with_model(options, table)
        except ChopError as error:
            lines += [str(error)] if not any(str(error) in line for line in lines) else []
    told = {problem.path: problem for problem in reversed(found)}  # of one key what comes first
    return [*lines, *(run_config.line_of(problem.below("search")) for problem in reversed(told.values()))]


def _problems_with_model(options: RunOptions, table: Any) -> list[Problem]:
    if options.task not in TASKS:
        options = replace(options, task=TASKS.meant(options.task) or options.task)
    prepared = prepare(options)
    with silenced(SETTINGS):
        return [] if table is None else check(prepared.model, prepared.data_module, table)[3]


def _no_search_strategy(given: str) -> list[str]:
    """An error line if `--strategy`, for training on several devices, names a search strategy."""
    names = {
        name for known, cls in STRATEGIES.working().items() for name in (known, *(one.name for one in cls.variants))
    }
    if given not in names:
        return []
    return [
        f"command line: --strategy {given}: that option spreads training over devices. A search has name = under "
        "[search.strategy] of its file, ch compare has --strategies"
    ]


def _no_search(run_config: RunConfig) -> str:
    cure = "`ch config examples` lists files that have one"
    if run_config.document is None:
        return f"command line: --config FILE.toml is needed, with a table [search]; {cure}"
    return f"{run_config.document.name}: there is no table [search]; {cure}"


def problems_without_data(table: Any) -> list[Problem]:
    """The problems of the table `search` that show before data and model are there."""
    with silenced(SETTINGS):
        _, problems = parse_search_settings(table)
    return problems + _space_problems(table)


def problems_without_model(table: Any, data_module: Data) -> list[Problem]:
    """The problems of the table `search` that show with the data, before the model is there."""
    with silenced(SETTINGS):
        return parse_search_settings(table, data_module)[1]


def _space_problems(table: Any) -> list[Problem]:
    """The problems of the tables of the space that no model could change."""
    tables = _space_tables(table)
    if tables is None:
        return []
    problems = tables.space.table_problems(tables.seed, tables.setup, tables.override)
    if problem := pass_names_problem(getattr(tables.setup, "passes", ())):
        problems.append(Problem(("setup", "passes"), problem))
    target = getattr(tables.setup, TARGET, None)
    try:
        if target is not None:
            exporters_for(target)
    except ChopError as error:
        problems.append(Problem(("setup", TARGET), str(error)))
    return [problem.below("search_space") for problem in problems]


def check(
    model: nn.Module | None,
    data_module: Data | None,
    table: Any,
    graph: MaseGraph | None = None,
    device: str = "cpu",
) -> tuple[SearchSettings | None, SearchSpaceBase | None, Any, list[Problem]]:
    """The settings and the space of the model, or all problems of both."""
    settings, problems = parse_search_settings(table, data_module)
    if model is None or data_module is None:
        return settings, None, None, problems
    graph = graph or traced(model, data_module)
    space, found = build_space(graph, table, data_module)
    if settings is not None and space is not None and not found:
        settings = replace(settings, space_setup=space.setup)
        found = training_problems(settings, space, data_module, device)
    elif settings is not None and space is not None:
        found = training_name_problems(settings, space) or found  # values of formats that must go say nothing more
    return settings, space, space.graph if space is not None else graph, problems + found


def build_space(graph: MaseGraph, table: Any, data_module: Data) -> tuple[SearchSpaceBase | None, list[Problem]]:
    """The space of the table `search`, built even if its other settings are wrong, and the problems of its seeds.

    The passes of its setup change the graph. A space for a target has no choice that cannot be exported to it.
    """
    tables = _space_tables(table)
    if tables is None:
        return None, []
    setup = tables.setup
    if problem := pass_names_problem(getattr(setup, "passes", ())):
        return None, [Problem((*SETUP, "passes"), problem)]
    try:
        used = with_needed_passes(setup, graph)
    except ChopError as error:
        return None, [Problem((*SETUP, TARGET), str(error))]
    graph = apply_float_passes(graph, getattr(used, "passes", ()), data_module)
    space = tables.space.build(graph, tables.seed, used, tables.override)
    space.setup = used
    problems = space.problems() or kept_to_target(space, setup, data_module)
    if not tables.is_sound:  # what else seems wrong may be right with the setup that is meant
        problems = [problem for problem in problems if "config" in problem.path]
    return space, [problem.below("search_space") for problem in problems]


def _space_tables(table: Any) -> _SpaceTables | None:
    """The tables of the space; None where their shape is wrong, which the settings report."""
    space_table = table.get("search_space") if isinstance(table, Mapping) else None
    if not isinstance(space_table, Mapping):
        return None
    seed, override = space_table.get("seed", {}), space_table.get("override", {})
    try:
        cls = SEARCH_SPACES[str(space_table.get("name"))]
    except ChopError:
        return None
    setup, is_sound = _sound_setup(cls.Setup, space_table.get("setup", {}))
    if setup is None or not isinstance(seed, Mapping) or not isinstance(override, Mapping):
        return None
    return _SpaceTables(cls, seed, setup, override, is_sound)


def _sound_setup(cls: type[Any], table: Any) -> tuple[Any, bool]:
    """The setup of a space without the keys that have problems, and whether it has all; None where nothing remains."""
    setup, found = parse_table(cls, table)
    if setup is None and isinstance(table, Mapping):
        wrong = {problem.path[0] for problem in found}
        setup, _ = parse_table(cls, {key: value for key, value in table.items() if key not in wrong})
    return setup, not found


def _tell_of_space(space: SearchSpaceBase) -> None:
    """Log what the space left out for a target, and that it has no formats, if so."""
    for line in space.remarks:
        logger.info("%s", line)
    formats = space.possible_formats()
    if formats is not None and not any(formats.values()):
        logger.warning("no operand of any node has a format in this search space: everything is measured in float32")
