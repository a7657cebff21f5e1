"""Ranges of activations that belong to a format: what a training for a search space has chosen by its loss."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from chop.formats import Format
from chop.formats.integer import FixedPoint
from chop.ir.plan import QuantPlan


class RangeSlot(NamedTuple):
    """An operand of a node that has the format `chosen`, as a plan asks for it, before anything is measured."""

    node: str
    operand: str
    chosen: Format


@dataclass(frozen=True)
class ChoiceRanges:
    """The formats of a graph's activations with their ranges, by slot; others are measured by their rule."""

    values: Mapping[RangeSlot, FixedPoint] = field(default_factory=dict)

    def put_into(self, plan: QuantPlan) -> QuantPlan:
        """The plan with the chosen ranges in place of those that are still to be measured."""
        if not self.values:
            return plan
        return QuantPlan.of(
            {
                node: {operand: self.values.get(RangeSlot(node, operand, own), own) for operand, own in formats}
                for node, formats in plan.choices
            }
        )
