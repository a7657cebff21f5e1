"""Begins a command: plug-ins, options, logging, and the trial that it is about."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from chop.errors import ConfigError

if TYPE_CHECKING:
    from chop.config.run_config import RunConfig


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
) -> RunConfig:
    """Load plug-ins, merge the options, set up logging, and show the options.

    `values` are those of `--set`, for the `tables` that the command reads. `trains`: the options of training are used.
    """
    load_plugins(plugins)
    from chop.config.overrides import overrides_of_pairs
    from chop.config.run_config import TABLES, load_run_config
    from chop.tools.logger import set_logging_verbosity

    run_config = load_run_config(config, given).with_overrides(overrides_of_pairs(values or (), tables, TABLES))
    quiet = "error" if run_config.options.no_warnings else run_config.options.log_level
    set_logging_verbosity("debug" if debug else quiet)
    if run_config.options.no_warnings:
        warnings.simplefilter("ignore")
    if shows_options and not run_config.problems:
        from chop.cli.options_table import print_options

        print_options(run_config, trains)
    return run_config


def row_of(path: Path | None, number: int | None, untuned: bool) -> Any:
    """The trial that `--from-search` and `--trial` name, or None."""
    if path is None and number is None:
        if untuned:
            raise ConfigError(["command line: --untuned is for the network of --from-search PATH and --trial NUMBER"])
        return None
    if path is None or number is None:
        raise ConfigError(["command line: --from-search PATH and --trial NUMBER go together"])
    from chop.actions.replay import read_row
    from chop.tools.logger import set_logging_verbosity

    set_logging_verbosity("warning")
    return read_row(path, number, untuned)
