"""Offsets of parameters that a training for a search space finds, one for each format that decides on them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from chop.formats import Format, MeasuredTensor
from chop.ir import MaseGraph, QuantPlan
from chop.ir.choice_offsets import ChoiceOffsets, OffsetSlot, offset_of, without_offset
from chop.training.gradients import Surrogate, formats_of

MOST_FORMATS = 16
"""Formats of an operand, beyond which parameters share their weights: each has too few steps to be trained by."""

PossibleFormats = Mapping[tuple[str, str], Sequence[Format]]
"""The formats that each operand of each node may have, `{(node, operand): [format, …]}`."""

OFFSET = "chop_offset."
"""Prefix of the offsets among the tensors of a state."""

DECIDING: Mapping[str, tuple[str, ...]] = {"weight": ("weight",), "bias": ("data_in", "weight")}
"""The operands whose formats decide on the offset of a parameter."""


@dataclass(frozen=True)
class _Moved:
    """A format behind the sum of offsets that are trained."""

    offsets: tuple[Tensor, ...]
    then: Surrogate | None

    def quantize(self, x: Tensor) -> Tensor:
        """`x` moved, and rounded."""
        for offset in self.offsets:
            x = x + offset
        return x if self.then is None else self.then.quantize(x)


class TrainedOffsets:
    """The offsets of a graph as parameters of a training, all zero where the graph has none yet.

    `formats` are those that each operand of each node may have. The formats of the plan `widest` have the shared
    weights: so the float network stays near the widest one.
    """

    def __init__(self, graph: MaseGraph, formats: PossibleFormats | None, widest: QuantPlan, device: str) -> None:
        self.graph = graph
        known = graph.choice_offsets.values
        self.parameters: dict[OffsetSlot, nn.Parameter] = {}
        self._shared: dict[OffsetSlot, nn.Parameter] = {}
        for slot, tensor in _slots(graph, formats or {}):
            start = known[slot].on(tensor) if slot in known else torch.zeros_like(tensor)
            self.parameters[slot] = nn.Parameter(start.detach().clone().to(device))
            if widest[slot.node].get(slot.chooser) == slot.chosen:
                self._shared[slot] = tensor

    @torch.no_grad()
    def settle(self) -> None:
        """Move the offsets of the widest plan to the shared weights, which changes no network; keep the rest."""
        for widest, shared in self._shared.items():
            offset = self.parameters[widest].clone()
            shared.add_(offset)
            for slot, own in self.parameters.items():
                if slot[:3] == widest[:3]:
                    own.sub_(offset)
        self.graph.choice_offsets = self.among(self.tensors())

    def among(self, tensors: Mapping[str, Tensor]) -> ChoiceOffsets:
        """The offsets among the tensors of a state; raises KeyError where one is missing."""
        return ChoiceOffsets(
            {slot: MeasuredTensor(tensors[f"{OFFSET}{place}"]) for place, slot in enumerate(self.parameters)}
        )

    def surrogates(self, plan: QuantPlan) -> Mapping[str, Mapping[str, Any]]:
        """The formats of a plan for a step, all measured: roundings, and offsets, that pass gradients."""
        frozen = formats_of(self.graph.freeze(plan))
        asked = dict(plan.choices)
        return {
            node: {
                operand: self._surrogate(node, operand, chosen, dict(asked[node])) for operand, chosen in own.items()
            }
            for node, own in frozen.items()
        }

    def _surrogate(self, node: str, operand: str, chosen: Format, asked: Mapping[str, Format]) -> Surrogate | _Moved:
        if offset_of(chosen) is None:
            return Surrogate(chosen)
        slots = self.graph.choice_offsets.slots(node, operand, asked)
        then = without_offset(chosen)
        return _Moved(tuple(self.parameters[slot] for slot in slots), None if then is None else Surrogate(then))

    def tensors(self) -> dict[str, Tensor]:
        """Copies of the offsets by name."""
        return {f"{OFFSET}{place}": own.detach().clone() for place, own in enumerate(self.parameters.values())}

    @torch.no_grad()
    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Put offsets in their place; raises KeyError where one is missing."""
        for place, own in enumerate(self.parameters.values()):
            own.copy_(tensors[f"{OFFSET}{place}"])
        self.graph.choice_offsets = self.among(tensors)


def _slots(graph: MaseGraph, formats: PossibleFormats) -> list[tuple[OffsetSlot, nn.Parameter]]:
    """The offsets that a space has room for, with the parameters that they are added to.

    None in a network with batch norms, which are measured under each plan: there offsets gain nothing. What several
    nodes read has none, either.
    """
    if any(op.has_statistics for op in graph.quantizable_nodes().values()):
        return []
    found = list(_parameters(graph))
    readers = Counter(id(tensor) for *_, tensor in found)
    return [
        (slot, tensor)
        for node, operand, tensor in found
        if tensor.requires_grad and readers[id(tensor)] == 1
        for slot in _slots_of(node, operand, formats)
    ]


def _parameters(graph: MaseGraph) -> Iterator[tuple[str, str, nn.Parameter]]:
    """The parameters that nodes read, each with its node and operand."""
    for node, op in graph.quantizable_nodes().items():
        for operand in op.params:
            tensor = graph.parameter(graph.node(node), op, operand)
            if isinstance(tensor, nn.Parameter):
                yield node, operand, tensor


def _slots_of(node: str, operand: str, formats: PossibleFormats) -> list[OffsetSlot]:
    if (node, operand) not in formats:
        return []
    choices = {chooser: list(dict.fromkeys(formats.get((node, chooser), ()))) for chooser in DECIDING.get(operand, ())}
    return [
        OffsetSlot(node, operand, chooser, chosen)
        for chooser, own in choices.items()
        if 1 < len(own) <= MOST_FORMATS
        for chosen in own
    ]
