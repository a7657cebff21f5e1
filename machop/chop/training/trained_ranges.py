"""Ranges of activations that a training for a search space chooses by its loss, one for each format."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from chop.formats.integer import AUTO, MAX_FRACTION, FixedPoint
from chop.ir import MaseGraph, QuantPlan
from chop.ir.choice_ranges import ChoiceRanges, RangeSlot
from chop.training.trained_offsets import MOST_FORMATS, PossibleFormats

RANGE = "chop_range."
"""Prefix of the ranges among the tensors of a state."""

PLANS_PER_RANGE = 12
"""Plans by whose loss a range is chosen: what suits a few of them may harm the others."""

MOST_TRIED = 24
"""Ranges that are tried at a time: their cost must not grow with a network's layers."""

LossOf = Callable[[QuantPlan], float]
"""The loss of a plan on some training samples."""


class TrainedRanges:
    """Fraction widths of activations in fixed point, in place of those that a range rule measures.

    A rule sees the error of one tensor of the float network. The loss sees what the networks of the space lose: one
    step of a fraction width is up to ten points of accuracy, and a rule takes it when weights drift a little.
    """

    def __init__(self, graph: MaseGraph, formats: PossibleFormats | None) -> None:
        self.graph = graph
        self.slots = _slots(graph, formats or {})
        known = graph.choice_ranges.values
        self._set({slot: known[slot].fractions[0] for slot in self.slots if slot in known})

    def choose(self, plans: Sequence[QuantPlan], loss_of: LossOf, rng: random.Random) -> None:
        """Move fraction widths by one where the mean loss of the first plans that have them falls by it.

        `rng` draws fraction widths where there are many. The first time it begins with what the rules measure.
        """
        self._begin(plans)
        losses: dict[QuantPlan, float] = {}
        for slot in self._drawn(rng):
            node, operand, chosen = slot
            having = [plan for plan in plans if plan[node].get(operand) == chosen]
            own = having[:PLANS_PER_RANGE]
            losses.update((plan, loss_of(plan)) for plan in own if plan not in losses)
            found = self._moved(slot, own, losses, loss_of)
            if found is not None:
                for plan in having:
                    losses.pop(plan, None)
                losses.update(found)

    def _drawn(self, rng: random.Random) -> list[RangeSlot]:
        slots = [slot for slot in self.slots if slot in self._fractions]
        return slots if len(slots) <= MOST_TRIED else rng.sample(slots, MOST_TRIED)

    def tensors(self) -> dict[str, Tensor]:
        """The fraction widths that are chosen, by name."""
        return {
            f"{RANGE}{place}": torch.tensor(self._fractions[slot])
            for place, slot in enumerate(self.slots)
            if slot in self._fractions
        }

    def among(self, tensors: Mapping[str, Tensor]) -> ChoiceRanges:
        """The ranges among the tensors of a state; others are measured."""
        return _ranges(self._read(tensors))

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Put ranges in their place."""
        self._set(self._read(tensors))

    def _read(self, tensors: Mapping[str, Tensor]) -> dict[RangeSlot, int]:
        names = {f"{RANGE}{place}": slot for place, slot in enumerate(self.slots)}
        return {slot: int(tensors[name]) for name, slot in names.items() if name in tensors}

    def _begin(self, plans: Sequence[QuantPlan]) -> None:
        known = set(self.slots)
        measured: dict[RangeSlot, int] = {}
        for plan in plans:
            frozen = self.graph.freeze(plan)
            for node, formats in plan.choices:
                for operand, chosen in formats:
                    slot, found = RangeSlot(node, operand, chosen), frozen[node][operand]
                    if slot in known and isinstance(found, FixedPoint):
                        measured[slot] = found.fractions[0]
        self._set({slot: measured[slot] for slot in self.slots if slot in measured} | self._fractions)

    def _moved(
        self, slot: RangeSlot, plans: Sequence[QuantPlan], losses: Mapping[QuantPlan, float], loss_of: LossOf
    ) -> dict[QuantPlan, float] | None:
        """Move a fraction width by one where the mean loss of plans falls, and return their losses then."""
        before = self._fractions
        for moved in (before[slot] - 1, before[slot] + 1):
            if abs(moved) > MAX_FRACTION:
                continue
            self._set({**before, slot: moved})
            found = {plan: loss_of(plan) for plan in plans}
            if sum(found.values()) < sum(losses[plan] for plan in plans):
                return found
            self._set(before)
        return None

    def _set(self, fractions: dict[RangeSlot, int]) -> None:
        self._fractions = fractions
        self.graph.choice_ranges = _ranges(fractions)


def _ranges(fractions: Mapping[RangeSlot, int]) -> ChoiceRanges:
    return ChoiceRanges(
        {
            slot: replace(slot.chosen, frac_width=fraction)
            for slot, fraction in fractions.items()
            if isinstance(slot.chosen, FixedPoint)
        }
    )


def _slots(graph: MaseGraph, formats: PossibleFormats) -> list[RangeSlot]:
    """The activations in fixed point whose range is measured for the whole tensor."""
    params = {node: op.params for node, op in graph.quantizable_nodes().items()}
    return [
        RangeSlot(node, operand, chosen)
        for (node, operand), own in formats.items()
        if operand not in params[node] and len(own) <= MOST_FORMATS
        for chosen in dict.fromkeys(own)
        if isinstance(chosen, FixedPoint) and chosen.frac_width == AUTO and chosen.granularity == "tensor"
    ]
