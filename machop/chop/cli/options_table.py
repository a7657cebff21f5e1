"""Prints the resolved options as a table: the values in use and their sources."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from rich.table import Table

from chop.config.run_config import RunConfig
from chop.tools.terminal import terminal


def print_options(run_config: RunConfig, trains: bool) -> None:
    """Show every option that the file or the command line sets, on standard error.

    For a command that does not train, those of training are left out.
    """
    terminal(stderr=True).print(options_table(run_config, trains))


def options_table(run_config: RunConfig, trains: bool) -> Table:
    """Option, default, value in the file, value on the command line; the rightmost holds."""
    kept = [own.name for own in fields(run_config.options) if trains or not own.metadata["of_training"]]
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("option", no_wrap=True)
    for heading in ("default", "file", "command line"):
        table.add_column(heading, overflow="fold")
    for name in kept:
        if run_config.sources[name] != "default":
            table.add_row(name, *_cells(run_config, name))
    return table


def _cells(run_config: RunConfig, name: str) -> list[str]:
    source = run_config.sources[name]
    value = getattr(run_config.options, name)
    default = type(run_config.options).__dataclass_fields__[name].default
    from_file = run_config.overridden.get(name, value if source == "file" else None)
    return [_text(default), _text(from_file), _text(value if source == "command line" else None)]


def _text(value: Any) -> str:
    return "" if value is None else str(value)
