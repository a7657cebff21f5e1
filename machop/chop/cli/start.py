"""Begins a command: plug-ins, options, logging, and the trial that it is about."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from chop.config.options import training_options
from chop.config.toml_document import in_line_order
from chop.errors import ConfigError
from chop.tools.option_names import option

if TYPE_CHECKING:
    from chop.actions.search_flags import SearchFlags
    from chop.config.run_config import RunConfig

TOLD: list[str] = []
"""The problems that this process has told."""


def load_plugins(plugins: list[Path] | None) -> None:
    """Run the Python files of `--plugin`, which register what they add."""
    from chop.tools.user_code import load_plugin

    for path in plugins or []:
        load_plugin(path)


def start(
    given: dict[str, Any],
    config: Path | None,
    plugins: list[Path] | None,
    debug: bool,
    shows_options: bool = True,
    values: Sequence[str] | None = None,
    tables: Sequence[str] = (),
    trains: bool = False,
    search: SearchFlags | None = None,
    of_space: Mapping[str, Any] | None = None,
) -> RunConfig:
    """Load plug-ins, merge the options, set up logging, and show the options.

    `values` are those of `--set`, for the `tables` that the command reads. `trains`: the options of training are used.
    A command that needs a sound table `[search]` gives its flags as `search`: what can be told of it without torch is
    told at once, before the whole check. `of_space` are the options of a training for a space, for such a command.
    """
    load_plugins(plugins)
    from chop.config.overrides import overrides_of_pairs
    from chop.config.run_config import TABLES, load_run_config
    from chop.config.space_options import for_space
    from chop.tools.logger import set_logging_verbosity

    run_config = load_run_config(config, given).with_overrides(overrides_of_pairs(values or (), tables, TABLES))
    if of_space is not None:
        run_config = for_space(run_config, of_space)
    quiet = "error" if run_config.options.no_warnings else run_config.options.log_level
    set_logging_verbosity("debug" if debug else quiet)
    if run_config.options.no_warnings:
        warnings.simplefilter("ignore")
    if not trains:
        _warn_of_training_options(run_config)
    if shows_options:
        tell(run_config.of_options)
    if search is not None and not plugins:
        _tell_early(run_config.with_overrides(search.overrides(run_config.tables)))
    if shows_options and not TOLD and not run_config.problems:
        from chop.cli.options_table import print_options

        print_options(run_config, trains, of_space is not None)
    return run_config


def _warn_of_training_options(run_config: RunConfig) -> None:
    """Warn of options of training on the command line of a command that does not train."""
    from chop.config.run_config import typed_flag
    from chop.tools.logger import get_logger

    typed = [name for name in training_options() if run_config.sources[name] == "command line"]
    if typed:
        get_logger(__name__).warning(
            "%s: no effect here, only `ch train` reads this: leave it out", ", ".join(map(typed_flag, typed))
        )


def _tell_early(run_config: RunConfig) -> None:
    """Print what is wrong with `[search]` as far as that needs no torch; the user's code may add keys."""
    from chop.actions.early_checks import early_problems
    from chop.registry import has_plugins
    from chop.tools.user_code import is_user_reference

    options = run_config.options
    is_own = any(is_user_reference(name or "") for name in (options.model, options.dataset))
    found = early_problems(run_config.tables.get("search"))
    if found and not is_own and not has_plugins():
        tell(run_config.line_of(problem.below("search")) for problem in found)


def tell(problems: Iterable[str]) -> None:
    """Print problems as errors, those of the first line first; none is told twice."""
    for problem in in_line_order(problems):
        if problem not in TOLD:
            TOLD.append(problem)
            print(f"error: {problem}", file=sys.stderr, flush=True)  # noqa: T201 - the answer to the command


def row_of(path: Path | None, number: int | None, untuned: bool) -> Any:
    """The trial that `--from-search` and `--trial` name, or None; without a trial an error names those of the front."""
    if path is None and number is None:
        if untuned:
            raise ConfigError(["command line: --untuned is for the network of --from-search PATH and --trial NUMBER"])
        return None
    if path is None:
        raise ConfigError(
            [f"command line: {option('trial')} {number} is a network of a search: add --from-search PATH"]
        )
    from chop.record.names import ROW_ENDINGS, search_folder

    search_folder(path, ROW_ENDINGS)  # before torch is imported
    from chop.actions.replay import read_row
    from chop.tools.logger import set_logging_verbosity

    set_logging_verbosity("warning")
    return read_row(path, number, untuned)
