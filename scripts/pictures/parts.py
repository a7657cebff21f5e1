"""The parts of `make pictures`: modules that draw pictures and compute the tables of pages."""

from __future__ import annotations

import importlib
import time
from collections.abc import Callable, Mapping, Sequence
from types import ModuleType
from typing import Any

import torch
from pictures.pages import ROOT, Rows, with_table
from pictures.style import save

from chop.tools.files import write_whole
from chop.tools.logger import set_logging_verbosity

PARTS = ("value_sets", "rounding_steps", "format_errors", "shared_prefixes", "accuracy_and_loss", "optimism")
"""Modules beside this one. Each has `PAGE`, its document; `PICTURES`, functions that draw, by the name of the file; and
`TABLES`, functions that return the rows of a table, by its name in the page.
"""


def part(name: str) -> ModuleType:
    """The module of a part."""
    return importlib.import_module(f"pictures.{name}")


def make(names: Sequence[str]) -> None:
    """Draw and print the parts of these names, or all; the tables go into the pages as well."""
    torch.set_num_threads(1)
    set_logging_verbosity("error")
    for name in names or PARTS:
        if name not in PARTS:
            raise SystemExit(f"'{name}' is not a part; choose from {', '.join(PARTS)}")
        started = time.perf_counter()
        module = part(name)
        draw_all(module.PICTURES)
        write_tables(module.PAGE, module.TABLES)
        print(f"{name}: {time.perf_counter() - started:.0f} s\n", flush=True)


def draw_all(pictures: Mapping[str, Callable[[], Any]]) -> None:
    """Draw each picture to its file under docs/pictures."""
    for name, draw in pictures.items():
        path = ROOT / "docs" / "pictures" / f"{name}.svg"
        save(draw(), path)
        print(f"{path.relative_to(ROOT)}: {path.stat().st_size:,} bytes", flush=True)


def write_tables(page: str, tables: Mapping[str, Callable[[], Rows]]) -> None:
    """Print tables, and put them into their page."""
    path = ROOT / "docs" / page
    text = path.read_text(encoding="utf-8")
    for name, rows_of in tables.items():
        rows = rows_of()
        print(f"\n{name}\n\n" + "\n".join(rows), flush=True)
        text = with_table(text, name, rows)
    write_whole(path, text)
