"""Offsets of parameters by format as notes of a checkpoint: JSON, and the tensors that it names."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from torch import Tensor

from chop.errors import CheckpointError, ChopError
from chop.ir.choice_offsets import ChoiceOffsets, OffsetSlot
from chop.ir.graph.format_json import format_as_json, format_from_json, tensor_as_json, tensor_from_json
from chop.models.weight_notes import OffsetNotes

if TYPE_CHECKING:
    from chop.ir.graph.mase_graph import MaseGraph


def offset_notes(offsets: ChoiceOffsets) -> OffsetNotes | None:
    """The notes that a checkpoint keeps of offsets that are not zero; None where all are."""
    moving = {slot: own for slot, own in offsets.values.items() if own.values.any()}
    if not moving:
        return None
    tensors: dict[str, Tensor] = {}
    entries = [
        {
            "node": slot.node,
            "operand": slot.operand,
            "chooser": slot.chooser,
            "chosen": format_as_json(slot.chosen, tensors),
            "offset": tensor_as_json(own.values, tensors),
        }
        for slot, own in moving.items()
    ]
    return OffsetNotes(json.dumps(entries), tensors)


def read_offsets(notes: OffsetNotes) -> ChoiceOffsets:
    """The offsets that a checkpoint has, of whatever model; raises CheckpointError where they cannot be read."""
    try:
        return ChoiceOffsets(
            {
                _slot(entry, notes): tensor_from_json(entry["offset"], notes.tensors)
                for entry in json.loads(notes.entries)
            }
        )
    except (ChopError, KeyError, TypeError, AttributeError, ValueError) as error:
        raise CheckpointError(
            f"the weights of their own that the checkpoint has for formats cannot be read ({error}); train for the "
            "space anew"
        ) from error


def noted_offsets(notes: OffsetNotes, graph: MaseGraph) -> ChoiceOffsets:
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


def _slot(entry: Mapping[str, Any], notes: OffsetNotes) -> OffsetSlot:
    return OffsetSlot(
        entry["node"], entry["operand"], entry["chooser"], format_from_json(entry["chosen"], notes.tensors)
    )
