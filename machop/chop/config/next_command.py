"""The command that a message tells to run next, as a shell takes it."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

from chop.config.options import CODE_OPTIONS, RunOptions
from chop.config.overrides import SEARCH
from chop.config.run_config import RunConfig, flag_of_option
from chop.tools.user_code import is_user_reference, loaded_plugins

OF_ONE_COMMAND = ("load_name", "load_type", "load_weights", "is_pretrained", "batch_size", "log_level", "no_warnings")
"""Options, beside those of training, that are not handed on to the next command."""


def scoring_command(options: RunOptions, load: Path) -> str:
    """The `ch test` that scores the weights or the graph in the file `load`."""
    words = ["ch", "test", str(options.model), str(options.dataset), "--load", str(load)]
    if options.task != RunOptions.task:
        words += ["--task", options.task]
    return shlex.join([*words, *_plugins(options)])


def file_command(options: RunOptions, *words: str) -> str:
    """A command on a TOML file, with the user's own code, which no file names."""
    return shlex.join([*words, *_own_names(options), *_plugins(options)])


def search_command(run_config: RunConfig, load: Path) -> str:
    """The `ch search` of the file of `run_config` with the weights in `load`, and all else as the user has given it."""
    document = run_config.document
    config = "FILE.toml" if document is None or document.path is None else _from_here(document.path)
    words = ["ch", "search", "--config", config, "--load", str(load), *_given_options(run_config)]
    for override in run_config.overrides:
        flag, _, pair = override.flag.partition(" ")
        if flag == "--set" and override.path[0] == SEARCH:
            words += [flag, pair]
    return file_command(run_config.options, *words)


def _given_options(run_config: RunConfig) -> Iterator[str]:
    """The options of the command line that a search takes too; the user's own code is not among them."""
    for option in fields(RunOptions):
        value, is_given = getattr(run_config.options, option.name), run_config.sources[option.name] == "command line"
        is_own_code = option.name in CODE_OPTIONS and is_user_reference(str(value))
        if not is_given or is_own_code or option.metadata["of_training"] or option.name in OF_ONE_COMMAND:
            continue
        flag = f"--{option.name}" if option.name in CODE_OPTIONS else flag_of_option(option.name)
        yield from (flag, str(value)) if not isinstance(value, bool) else (flag if value else f"--no-{flag[2:]}",)


def _from_here(path: Path) -> str:
    """A path as the user gave it; one below the folder where the user stands as it is seen from there."""
    return os.path.relpath(path) if path.absolute().is_relative_to(Path.cwd()) else str(path)


def _own_names(options: RunOptions) -> Iterator[str]:
    for key in CODE_OPTIONS:
        if is_user_reference(name := getattr(options, key) or ""):
            yield from (f"--{key}", name)


def _plugins(options: RunOptions) -> Iterator[str]:
    """The files of `--plugin`, by their paths from here; that of the model or the data is loaded with it."""
    own = {Path(name.rpartition(":")[0]).resolve() for name in map(options.__getattribute__, CODE_OPTIONS) if name}
    for path in loaded_plugins():
        if path not in own:
            yield from ("--plugin", _from_here(path))
