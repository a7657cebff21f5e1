"""Prints `ch info FILE`: what a file of weights holds, from the file alone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rich.markup import escape
from rich.table import Table
from torch import Tensor

from chop.ir.choice_offsets import ChoiceOffsets
from chop.ir.graph.format_notes_json import read_offsets, read_ranges
from chop.ir.graph.graph_file import saved_plan
from chop.models.checkpoint import fitting_models, format_notes_in
from chop.models.checkpoint_file import KIND_NAMES, Checkpoint, graph_notes, read_checkpoint
from chop.models.weight_notes import TRAINED_FOR_SPACE, TrainedForSpace
from chop.tools.terminal import table_of, terminal


def show_checkpoint(path: Path) -> None:
    """Show kind, tensors, model, training and offsets, or formats. Raises CheckpointError for what is no such file."""
    checkpoint = read_checkpoint(path)
    tables = [_table(str(path), ("", ""), _facts(checkpoint))]
    if checkpoint.kind == "mz":
        tables.append(_table("Formats", ("node", "operand", "format"), _formats(checkpoint)))
    else:
        tables += _choices(checkpoint)
    for table in tables:
        terminal().print(table)


def _choices(checkpoint: Checkpoint) -> Iterator[Table]:
    """Tables of the offsets and the ranges that formats have in a checkpoint."""
    noted = format_notes_in(checkpoint)
    if noted is None:
        return
    if (offsets := read_offsets(noted)).values:
        yield _table(
            "Offsets, which are added to the weights that all other formats share",
            ("node", "operand", "by the format of", "formats with weights of their own"),
            _offsets(offsets),
        )
    if (ranges := read_ranges(noted)).values:
        rows = ((slot.node, slot.operand, str(slot.chosen), str(own)) for slot, own in ranges.values.items())
        yield _table("Ranges, which the loss has chosen", ("node", "operand", "format", "with its range"), rows)


def _table(title: str, headings: tuple[str, ...], rows: Iterator[tuple[str, ...]]) -> Table:
    return table_of(
        headings, rows, title=escape(title), title_justify="left", header_style="bold", show_header=any(headings)
    )


def _facts(checkpoint: Checkpoint) -> Iterator[tuple[str, str]]:
    yield "kind", KIND_NAMES[checkpoint.kind]
    for place, state in checkpoint.state_dicts.items():
        yield f"tensors of '{place}'" if place else "tensors", _size_of([*state.values()])
    yield "checksum", "verified" if checkpoint.has_checksum else "none: damaged values cannot be noticed"
    if checkpoint.kind == "mz":
        yield from _named_in(graph_notes(checkpoint))
    else:
        yield "fits the bundled model", ", ".join(fitting_models(checkpoint)) or "none"
        yield from _training(TrainedForSpace.from_metadata(checkpoint.metadata), _has_offsets(checkpoint))


def _has_offsets(checkpoint: Checkpoint) -> bool:
    noted = format_notes_in(checkpoint)
    return noted is not None and bool(read_offsets(noted).values)


def _size_of(values: list[Any]) -> str:
    tensors = [own for own in values if isinstance(own, Tensor)]
    types = sorted({str(own.dtype).removeprefix("torch.") for own in tensors})
    return f"{len(tensors)}, {sum(own.numel() for own in tensors):,} values ({', '.join(types)})"


def _named_in(notes: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """The facts in a saved graph: its model, formats and notes."""
    for name in ("model", "dataset", "task"):
        yield name, str(notes.get(name) or "not named")
    if folded := notes.get("folded"):
        yield "folded batch norms", ", ".join(map(str, folded))
    trained = notes.get(TRAINED_FOR_SPACE)
    try:
        yield from _training(None if trained is None else TrainedForSpace.from_json(trained))
    except TypeError:
        yield "trained for a space", "its notes cannot be read"


def _training(trained: TrainedForSpace | None, has_offsets: bool | None = None) -> Iterator[tuple[str, str]]:
    yield "trained for a space", "no" if trained is None else str(trained)
    if trained is not None:
        yield "checksum of its choices", trained.choices
    if has_offsets is not None:
        yield "offsets for formats", "yes" if has_offsets else "none: all formats share the weights"


def _offsets(offsets: ChoiceOffsets) -> Iterator[tuple[str, ...]]:
    """A row for each parameter and operand that decides."""
    formats: dict[tuple[str, str, str], list[str]] = {}
    for slot in offsets.values:
        formats.setdefault(slot[:3], []).append(str(slot.chosen))
    for key, own in formats.items():
        yield (*key, ", ".join(own))


def _formats(checkpoint: Checkpoint) -> Iterator[tuple[str, str, str]]:
    """A row for each operand that has a format."""
    plan = saved_plan(checkpoint)
    for node in plan:
        for operand, chosen in plan[node].items():
            yield node, operand, str(chosen)
