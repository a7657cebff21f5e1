"""The command that a message tells to run next, as a shell takes it."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator
from pathlib import Path

from chop.config.options import CODE_OPTIONS, RunOptions
from chop.tools.user_code import is_user_reference, loaded_plugins


def scoring_command(options: RunOptions, load: Path) -> str:
    """The `ch test` that scores the weights or the graph in the file `load`."""
    words = ["ch", "test", str(options.model), str(options.dataset), "--load", str(load)]
    if options.task != RunOptions.task:
        words += ["--task", options.task]
    return shlex.join([*words, *_plugins(options)])


def file_command(options: RunOptions, *words: str) -> str:
    """A command on a TOML file, with the user's own code, which no file names."""
    return shlex.join([*words, *_own_names(options), *_plugins(options)])


def _own_names(options: RunOptions) -> Iterator[str]:
    for key in CODE_OPTIONS:
        if is_user_reference(name := getattr(options, key) or ""):
            yield from (f"--{key}", name)


def _plugins(options: RunOptions) -> Iterator[str]:
    """The files of `--plugin`, by their paths from here; that of the model or the data is loaded with it."""
    own = {Path(name.rpartition(":")[0]).resolve() for name in map(options.__getattribute__, CODE_OPTIONS) if name}
    for path in loaded_plugins():
        if path not in own:
            yield from ("--plugin", os.path.relpath(path) if path.is_relative_to(Path.cwd()) else str(path))
