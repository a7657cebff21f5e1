"""Offsets and ranges by format as notes of a checkpoint: JSON, and the tensors that it names."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from torch import Tensor

from chop.errors import CheckpointError, ChopError
from chop.formats.integer import FixedPoint
from chop.ir.choice_offsets import ChoiceOffsets, OffsetSlot
from chop.ir.choice_ranges import ChoiceRanges, RangeSlot
from chop.ir.graph.format_json import format_as_json, format_from_json, tensor_as_json, tensor_from_json
from chop.models.weight_notes import FormatNotes

if TYPE_CHECKING:
    from chop.ir.graph.mase_graph import MaseGraph

FRACTION = "frac_width"
"""The key of an entry that is a range; entries without it are offsets."""


def format_notes(offsets: ChoiceOffsets, ranges: ChoiceRanges | None = None) -> FormatNotes | None:
    """The notes that a checkpoint keeps of ranges, and of offsets that are not zero; None where there are none."""
    known = {} if ranges is None else ranges.values
    moving = {slot: own for slot, own in offsets.values.items() if own.values.any()}
    if not moving and not known:
        return None
    tensors: dict[str, Tensor] = {}
    entries: list[dict[str, Any]] = [
        {
            "node": slot.node,
            "operand": slot.operand,
            "chooser": slot.chooser,
            "chosen": format_as_json(slot.chosen, tensors),
            "offset": tensor_as_json(own.values, tensors),
        }
        for slot, own in moving.items()
    ]
    entries += [
        {
            "node": slot.node,
            "operand": slot.operand,
            "chosen": format_as_json(slot.chosen, tensors),
            FRACTION: own.frac_width,
        }
        for slot, own in known.items()
    ]
    return FormatNotes(json.dumps(entries), tensors)


def read_offsets(notes: FormatNotes) -> ChoiceOffsets:
    """The offsets that a checkpoint has, of whatever model; raises CheckpointError where they cannot be read."""
    with _reading():
        return ChoiceOffsets(
            {
                _slot(entry, notes): tensor_from_json(entry["offset"], notes.tensors)
                for entry in json.loads(notes.entries)
                if FRACTION not in entry
            }
        )


def read_ranges(notes: FormatNotes) -> ChoiceRanges:
    """The ranges that a checkpoint has, of whatever model; raises CheckpointError where they cannot be read."""
    with _reading():
        return ChoiceRanges(dict(_range(entry, notes) for entry in json.loads(notes.entries) if FRACTION in entry))


def noted_offsets(notes: FormatNotes, graph: MaseGraph) -> ChoiceOffsets:
    """The offsets that a checkpoint has for a graph; raises CheckpointError where they do not fit it."""
    found, ops = read_offsets(notes), graph.quantizable_nodes()
    for slot, own in found.values.items():
        op = ops.get(slot.node)
        tensor = graph.parameter(graph.node(slot.node), op, slot.operand) if op and slot.operand in op.params else None
        if tensor is None or tensor.shape != own.values.shape or not own.values.is_floating_point():
            raise CheckpointError(
                f"the checkpoint has weights of their own for formats of node '{slot.node}', {slot.operand}, which do "
                "not fit the model; train for the space anew"
            )
    return found


def noted_ranges(notes: FormatNotes, graph: MaseGraph) -> ChoiceRanges:
    """The ranges that a checkpoint has for a graph; raises CheckpointError where they do not fit it."""
    found, ops = read_ranges(notes), graph.quantizable_nodes()
    for node, operand, _ in found.values:
        if node not in ops or operand not in ops[node].operands or operand in ops[node].params:
            raise CheckpointError(
                f"the checkpoint has ranges for formats of node '{node}', {operand}, which do not fit the model; train "
                "for the space anew"
            )
    return found


@contextmanager
def _reading() -> Iterator[None]:
    try:
        yield
    except (ChopError, KeyError, TypeError, AttributeError, ValueError) as error:
        raise CheckpointError(
            f"the weights and ranges of their own that the checkpoint has for formats cannot be read ({error}); train "
            "for the space anew"
        ) from error


def _range(entry: Mapping[str, Any], notes: FormatNotes) -> tuple[RangeSlot, FixedPoint]:
    chosen, fraction = format_from_json(entry["chosen"], notes.tensors), entry[FRACTION]
    if not isinstance(chosen, FixedPoint) or not isinstance(fraction, int):
        raise ValueError(f"'{chosen}' has no fraction width {fraction!r}")
    return RangeSlot(entry["node"], entry["operand"], chosen), replace(chosen, frac_width=fraction)


def _slot(entry: Mapping[str, Any], notes: FormatNotes) -> OffsetSlot:
    return OffsetSlot(
        entry["node"], entry["operand"], entry["chooser"], format_from_json(entry["chosen"], notes.tensors)
    )
