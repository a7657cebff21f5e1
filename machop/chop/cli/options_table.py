"""Prints the resolved options as a table: the values in use and their sources."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields
from typing import Any

from rich.table import Table

from chop.config.run_config import SPACE_TRAINING, RunConfig
from chop.config.space_options import OF_FLOAT_TRAINING
from chop.config.space_training import SpaceTrainingOptions
from chop.tools.terminal import terminal


def print_options(run_config: RunConfig, trains: bool, for_space: bool = False) -> None:
    """Show every option that the file or the command line sets, on standard error.

    For a command that does not train, those of training are left out; a training for a space has those of its table.
    """
    terminal(stderr=True).print(options_table(run_config, trains, for_space))


def options_table(run_config: RunConfig, trains: bool, for_space: bool = False) -> Table:
    """Option, default, value in the file, value on the command line; the rightmost holds."""
    left_out = OF_FLOAT_TRAINING if for_space else ()
    kept = [own.name for own in fields(run_config.options) if trains or not own.metadata["of_training"]]
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("option", no_wrap=True)
    for heading in ("default", "file", "command line"):
        table.add_column(heading, overflow="fold")
    for name in kept:
        if run_config.sources[name] != "default" and name not in left_out:
            table.add_row(name, *_cells(run_config, name))
    for row in _space_rows(run_config) if for_space else ():
        table.add_row(*row)
    return table


def _space_rows(run_config: RunConfig) -> Iterator[tuple[str, ...]]:
    """The rows of the keys of `[train_for_space]` that are set."""
    in_file = run_config.document.data.get(SPACE_TRAINING, {}) if run_config.document else {}
    typed = {own.path[1:]: own.value for own in run_config.overrides if own.path[0] == SPACE_TRAINING}
    for option in fields(SpaceTrainingOptions):
        values = option.default, in_file.get(option.name), typed.get((option.name,))
        if option.name in in_file or (option.name,) in typed:
            yield (f"{SPACE_TRAINING}.{option.name}", *map(_text, values))


def _cells(run_config: RunConfig, name: str) -> list[str]:
    source = run_config.sources[name]
    value = getattr(run_config.options, name)
    default = type(run_config.options).__dataclass_fields__[name].default
    from_file = run_config.overridden.get(name, value if source == "file" else None)
    return [_text(default), _text(from_file), _text(value if source == "command line" else None)]


def _text(value: Any) -> str:
    return "" if value is None else str(value)
