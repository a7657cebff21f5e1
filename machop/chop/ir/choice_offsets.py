"""Offsets of parameters that belong to a format: weights and biases of their own for each choice of a search space."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from chop.formats import Format, MeasuredTensor
from chop.ir.plan import QuantPlan
from chop.weight_transforms import Chain, TrainedOffset


class OffsetSlot(NamedTuple):
    """A parameter (`operand`) of a node that is moved where the operand `chooser` of the node has the format `chosen`.

    `chosen` is the format that a plan asks for, before anything is measured.
    """

    node: str
    operand: str
    chooser: str
    chosen: Format


@dataclass(frozen=True)
class ChoiceOffsets:
    """Offsets of the parameters of a graph, by slot; those of all choices of a node are added up."""

    values: Mapping[OffsetSlot, MeasuredTensor] = field(default_factory=dict)
    _sums: dict[tuple[OffsetSlot, ...], TrainedOffset] = field(default_factory=dict, repr=False, compare=False)

    def slots(self, node: str, operand: str, formats: Mapping[str, Format]) -> tuple[OffsetSlot, ...]:
        """The slots of a parameter of a node that has these formats."""
        found = (OffsetSlot(node, operand, chooser, chosen) for chooser, chosen in formats.items())
        return tuple(slot for slot in found if slot in self.values)

    def added_to(self, plan: QuantPlan) -> QuantPlan:
        """The plan with offsets in front of the formats of parameters; one that has them already stays as it is."""
        if not self.values:
            return plan
        return QuantPlan.of({node: self._moved(node, dict(formats)) for node, formats in plan.choices})

    def _moved(self, node: str, formats: Mapping[str, Format]) -> dict[str, Format]:
        found = dict(formats)
        for operand, chosen in formats.items():
            slots = self.slots(node, operand, formats)
            if slots and offset_of(chosen) is None:
                found[operand] = _behind(self._sum(slots), chosen)
        return found

    def _sum(self, slots: tuple[OffsetSlot, ...]) -> TrainedOffset:
        if slots not in self._sums:
            first, *others = (self.values[slot].values for slot in slots)
            self._sums[slots] = TrainedOffset(MeasuredTensor(sum(others, first)))
        return self._sums[slots]


def offset_of(chosen: Format) -> TrainedOffset | None:
    """The trained offset in front of a format."""
    first = chosen.transforms[0] if isinstance(chosen, Chain) and chosen.transforms else None
    return first if isinstance(first, TrainedOffset) else None


def without_offset(chosen: Format) -> Format | None:
    """The format behind its trained offset; the format itself where it has none."""
    if offset_of(chosen) is None:
        return chosen
    assert isinstance(chosen, Chain)
    return replace(chosen, transforms=chosen.transforms[1:]) if len(chosen.transforms) > 1 else chosen.then


def _behind(offset: TrainedOffset, chosen: Format) -> Chain:
    if isinstance(chosen, Chain):
        return replace(chosen, transforms=(offset, *chosen.transforms))
    return Chain((offset,), chosen)
