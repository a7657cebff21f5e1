"""Entry points of a search, `ch search` and `chop.actions.search.search`, and the checks that `ch compare` shares."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from torch import nn

from chop.actions.float_passes import apply_float_passes, pass_names_problem
from chop.actions.pass_settings import pass_problems
from chop.actions.search.export_target import SETUP, TARGET, for_target, kept_to_target, with_needed_passes
from chop.actions.search.run.declared_training import training_problems
from chop.actions.search.run.input_fingerprint import fingerprint_of_inputs
from chop.actions.search.run.job import SearchJob
from chop.actions.search.run.publish import SearchResult
from chop.actions.search.run.session import SearchSession
from chop.actions.search.search_space import SEARCH_SPACES, SearchSpaceBase
from chop.actions.search.settings.search import SearchSettings, parse_search_settings
from chop.actions.search.strategies.base import STRATEGIES
from chop.actions.search.strategies.optuna.storage import without_password
from chop.actions.setup import Prepared, prepare, resolve_accelerator, software_dir, traced
from chop.config.run_config import RunConfig, dump_toml
from chop.config.typed import Problem, parse_table
from chop.dataset.data import Data
from chop.errors import ChopError, ConfigError, SearchError
from chop.ir import MaseGraph
from chop.models.build import ships_weights
from chop.report.search_report import print_summary
from chop.tools.files import move_aside
from chop.tools.folder_lock import OwnFolder, only_writer
from chop.tools.logger import get_logger

logger = get_logger(__name__)

Kind = TypeVar("Kind", bound=SearchSession)


def search(
    model: nn.Module,
    data_module: Data,
    search_config: Mapping[str, Any],
    save_path: Path | str,
    *,
    seed: int = 0,
    resume: bool = False,
    init_from: Sequence[str | Path] = (),
    device: str = "cpu",
) -> SearchResult:
    """Search the best number formats of `model`, from Python; the argument is the table `[search]` of a TOML file.

    `init_from` names earlier searches to begin with: folders, or `sqlite:///FILE.db#STUDY`.

    Writes `best.json`, `log.json` and the trial log to `save_path`. Raises ConfigError with all that is wrong with
    `search_config`, before anything runs, and FolderError where another search is writing to `save_path`.
    """
    job = checked_call(SearchJob, model, data_module, search_config, Path(save_path), seed, device)
    with only_writer(job.folder) as own:
        result = job.begun_from(list(map(str, init_from)), resume).run(resume, own.settle)
        print_summary(job.files.summary, job.folder)
    return result


def run_search(
    run_config: RunConfig,
    resume: bool = False,
    init_from: Sequence[str] = (),
    typed: Sequence[str] = (),
    finish_epochs: int | None = None,
    target: str | None = None,
) -> SearchResult:
    """Run `ch search` with a TOML file and the options of the command line, which was `typed` like this.

    `finish_epochs` goes before `max_epochs` of the table `[search.finish]`, `target` before `export_to` of the space.
    """
    if target is not None:
        run_config = for_target(run_config, target)
    if finish_epochs is not None:
        run_config = _finished(run_config, finish_epochs)
    job = replace(checked_run(SearchJob, run_config, "search_ckpts"), command=command_line(typed))
    with only_writer(job.folder) as own:
        job = job.begun_from(init_from, resume)  # before the earlier search, which may be one of them, is moved aside
        if resume and not job.files.holds_search:
            raise SearchError(f"there is no search to resume in {job.folder}; start one without --resume")
        return _run_in(own, job, run_config, resume)


def _run_in(own: OwnFolder, job: SearchJob, run_config: RunConfig, resume: bool) -> SearchResult:
    """Run a search of the command line in a folder that is locked against other commands."""

    def make_room() -> None:
        """Move an earlier search aside, for a new one."""
        if not resume and job.files.holds_search:
            logger.info("the earlier search is kept in %s", move_aside(job.folder))
        own.settle()
        if not resume:
            job.files.write_resolved(dump_toml(run_config))

    try:
        result = job.run(resume, make_room)
    except KeyboardInterrupt:
        if job.files.holds_search:
            logger.warning("interrupted before the report: what was measured is in %s, go on with --resume", job.folder)
        raise
    if resume:  # not before: it may be refused as another search than the one in the folder
        own.require_in_place()
        job.files.write_resolved(dump_toml(run_config))
    print_summary(job.files.summary, job.folder)
    return result


def _finished(run_config: RunConfig, epochs: int) -> RunConfig:
    """The options with so many epochs of tuning at the end of the search."""
    if epochs < 1:
        raise ConfigError([*run_config.problems, f"command line: --finish-epochs: must be 1 or more, got {epochs}"])
    table = run_config.tables.get("search")
    if not isinstance(table, Mapping) or not isinstance(table.get("finish", {}), Mapping):
        return run_config  # which is a problem of its own
    search = {**table, "finish": {**table.get("finish", {}), "max_epochs": epochs}}
    return replace(run_config, tables={**run_config.tables, "search": search})


def command_line(typed: Sequence[str]) -> str:
    """The command line, without the passwords of storages."""
    return shlex.join(map(without_password, typed))


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
    settings, space, graph, found = _check(model, data_module, search_config, graph, device)
    lines = [*problems, *map(told, found)]
    if lines or settings is None or space is None:
        raise ConfigError(lines)
    _tell_of_space(space)
    input_fingerprint = fingerprint_of_inputs(model, data_module, settings, space, seed)
    space = kind.searched_space(settings, space, folder)
    return kind(settings, space, graph, data_module, folder, seed, device, input_fingerprint)


def checked_run(kind: type[Kind], run_config: RunConfig, folder: str, problems: Sequence[str] = ()) -> Kind:
    """A checked search of class `kind` from a TOML file and the command line, which writes to `folder`.

    Raises ConfigError with all that is wrong, the caller's `problems` among it.
    """
    problems = [*problems, *_no_search_strategy(run_config.options.strategy)]
    table = run_config.tables.get("search")
    if table is None:
        raise ConfigError([*run_config.problems, *problems, _no_search(run_config)])
    prepared = _prepare(run_config, problems)
    model, data_module = (prepared.model, prepared.data_module) if prepared else (None, None)
    settings, space, graph, found = _check(model, data_module, table)
    lines = [*run_config.problems, *problems, *pass_problems(run_config)]
    lines += [problem_line(run_config, problem) for problem in found]
    if lines or settings is None or space is None or prepared is None:
        raise ConfigError(lines)
    _tell_untrained(run_config)
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


def _prepare(run_config: RunConfig, problems: Sequence[str]) -> Prepared | None:
    """Model and data; None if options are wrong already, so that problems of the search are still shown."""
    try:
        return prepare(run_config.options)
    except ChopError:
        if run_config.problems or problems:
            return None
        raise


def _check(
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
    return settings, space, space.graph if space is not None else graph, problems + found


def build_space(graph: MaseGraph, table: Any, data_module: Data) -> tuple[SearchSpaceBase | None, list[Problem]]:
    """The space of the table `search`, built even if its other settings are wrong, and the problems of its seeds.

    The passes of its setup change the graph. A space for a target has no choice that cannot be exported to it.
    """
    space_table = table.get("search_space") if isinstance(table, Mapping) else None
    if not isinstance(space_table, Mapping):
        return None, []
    seed, override = space_table.get("seed", {}), space_table.get("override", {})
    try:
        cls = SEARCH_SPACES[str(space_table.get("name"))]
    except ChopError:
        return None, []  # the settings say it
    setup, _ = parse_table(cls.Setup, space_table.get("setup", {}))
    if setup is None or not isinstance(seed, Mapping) or not isinstance(override, Mapping):
        return None, []
    if problem := pass_names_problem(getattr(setup, "passes", ())):
        return None, [Problem((*SETUP, "passes"), problem)]
    try:
        used = with_needed_passes(setup, graph)
    except ChopError as error:
        return None, [Problem((*SETUP, TARGET), str(error))]
    graph = apply_float_passes(graph, getattr(used, "passes", ()), data_module)
    space = cls.build(graph, seed, used, override)
    space.setup = used
    problems = space.problems() or kept_to_target(space, setup, data_module)
    return space, [problem.below("search_space") for problem in problems]


def problem_line(run_config: RunConfig, problem: Problem) -> str:
    """A problem of the table `search` with its file and line."""
    path = ("search", *problem.path)
    where = run_config.document.where(path) if run_config.document else "command line"
    return f"{where}: {'.'.join(path)}: {problem.message}"


def _tell_of_space(space: SearchSpaceBase) -> None:
    """Log what the space left out for a target, and that it has no formats, if so."""
    for line in space.remarks:
        logger.info("%s", line)
    formats = space.possible_formats()
    if formats is not None and not any(formats.values()):
        logger.warning("no operand of any node has a format in this search space: everything is measured in float32")


def _tell_untrained(run_config: RunConfig) -> None:
    options = run_config.options
    if options.load_name or options.is_pretrained:
        return
    model = options.model or ""
    logger.warning(
        "neither --load nor --pretrained is given: the weights are random, and so are all figures. Train with "
        "`ch train %s %s`, then add --load PATH%s",
        model,
        options.dataset,
        f"; or add --pretrained for the weights that ship with {model}" if ships_weights(model) else "",
    )
