"""Gives a graph what was noted on the weights of its model: their training for a search space, offsets, ranges."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

from torch import nn

from chop.ir.choice_offsets import ChoiceOffsets
from chop.ir.choice_ranges import ChoiceRanges
from chop.ir.graph.format_notes_json import noted_offsets, noted_ranges
from chop.ir.graph.own_copy import unwrapped
from chop.models.weight_notes import (
    TRAINED_FOR_SPACE,
    format_notes_on,
    hand_on_notes,
    has_forgotten_format_notes,
    note,
    notes_on,
)
from chop.tools.logger import get_logger

if TYPE_CHECKING:
    from chop.ir.graph.mase_graph import MaseGraph

logger = get_logger(__name__)


def take_notes(graph: MaseGraph, model: nn.Module) -> None:
    """Give a new graph the notes on the weights of `model`, and warn where the weights have changed since.

    Raises CheckpointError for offsets and ranges that do not fit the graph.
    """
    model = unwrapped(model)
    if has_forgotten_format_notes(model):
        hand_on_notes(model, graph.model)
        logger.warning(
            "the weights have changed since their training for a search space: the offsets and ranges that it found "
            "for each format are not used; train for the space again"
        )
        return
    notes = notes_on(model)
    note(graph.model, notes, format_notes_on(model))
    if notes is not None:
        graph.about = {**graph.about, TRAINED_FOR_SPACE: asdict(notes)}
    take_choices(graph)


def take_choices(graph: MaseGraph) -> None:
    """Give a graph the offsets and ranges that were noted on its weights; none where they have changed since.

    Raises CheckpointError for what does not fit the graph.
    """
    noted = format_notes_on(graph.model)
    graph.choice_offsets = ChoiceOffsets() if noted is None else noted_offsets(noted, graph)
    graph.choice_ranges = ChoiceRanges() if noted is None else noted_ranges(noted, graph)
