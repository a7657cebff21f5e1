"""Fills the formats of a plan with the widths that a training has found."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from chop.errors import ChopError, GraphError
from chop.formats import Format
from chop.formats.integer import FixedPoint
from chop.formats.learned import LEARNED
from chop.ir.plan import QuantPlan
from chop.weight_transforms import Chain

LearnedFormats = Mapping[tuple[str, str], FixedPoint]
"""For a node and an operand the fixed-point format with the widths that were learned there."""


def with_learned(plan: QuantPlan, learned: LearnedFormats) -> QuantPlan:
    """The plan with each format that is "learned" filled in from its slot.

    Raises GraphError for a slot where nothing was learned, or where it is wider than the plan allows.
    """
    if not any(_awaits(chosen) for _, formats in plan.choices for _, chosen in formats):
        return plan
    return QuantPlan.of(
        {
            node: {operand: _filled((node, operand), chosen, learned) for operand, chosen in formats}
            for node, formats in plan.choices
        }
    )


def learned_in(plan: QuantPlan) -> dict[tuple[str, str], FixedPoint]:
    """The formats of a plan that hold learned widths."""
    found = {}
    for node, formats in plan.choices:
        for operand, chosen in formats:
            own = chosen.then if isinstance(chosen, Chain) else chosen
            if isinstance(own, FixedPoint) and own.is_learned:
                found[node, operand] = own
    return found


def _awaits(chosen: Format | None) -> bool:
    own = chosen.then if isinstance(chosen, Chain) else chosen
    return isinstance(own, FixedPoint) and own.frac_width == LEARNED


def _filled(slot: tuple[str, str], chosen: Format, learned: LearnedFormats) -> Format:
    if not _awaits(chosen):
        return chosen
    if isinstance(chosen, Chain):
        assert chosen.then is not None
        return replace(chosen, then=_filled(slot, chosen.then, learned))
    assert isinstance(chosen, FixedPoint)
    node, operand = slot
    if slot not in learned:
        raise GraphError(
            f"node '{node}', {operand}: '{chosen}' needs widths that a training has found, and this graph has none; "
            "load the graph that was saved with them, or train (chop.training.learned_widths)"
        )
    own = learned[slot]
    try:
        return replace(chosen, frac_width=own.frac_width, element_width=own.element_width, is_signed=own.is_signed)
    except ChopError as error:
        raise GraphError(f"node '{node}', {operand}: {error}") from error
