"""Stores the tensors that formats are calibrated on: activations of the FP32 baseline, and parameters."""

from __future__ import annotations

import math
from collections.abc import Callable, Container, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from torch import Tensor

from chop.errors import ChopError, GraphError
from chop.formats import FloatStatistics, Format, OutputShift
from chop.ir.plan import QuantPlan
from chop.weight_transforms import Chain, LayerInputs, Summands

Slot = tuple[str, str]
"""A node and one of its operands."""

InputsOf = Callable[[str], LayerInputs]
"""Returns what the layer of a node reads, on the activations of the calibration samples."""


@dataclass(frozen=True)
class Calibration:
    """For every slot what was seen there: parameters as they are, activations of some rows (`(rows, …)`)."""

    tensors: Mapping[Slot, Tensor] = field(default_factory=dict)
    has_activations: bool = False
    inputs: Any = field(default=None, repr=False, compare=False)
    """The samples themselves, one batch as the model takes it: what is measured under a plan runs on them."""

    shifts: dict[Any, tuple[float, ...]] = field(default_factory=dict, repr=False, compare=False)
    """Bias corrections that were measured, by node and its other formats."""

    summands: dict[str, Summands] = field(default_factory=dict, repr=False, compare=False)
    """The values that layers multiply with their weights, by node, if they were asked for."""

    in_float: dict[str, FloatStatistics | None] = field(default_factory=dict, repr=False, compare=False)
    """The statistics of batch norms in the float network, by node, if they were asked for; None for a new norm."""

    stamps: dict[Slot, tuple[int, int]] = field(default_factory=dict, repr=False, compare=False)
    """Where each parameter lay and how often it had been written, when this was made."""

    _frozen: dict[tuple[Slot, Format], Format] = field(default_factory=dict, repr=False, compare=False)

    def with_parameters(self, parameters: Mapping[Slot, Tensor]) -> Calibration:
        """The same activations beside `parameters`; what was measured is kept if no parameter has changed."""
        stamps = {slot: (tensor.data_ptr(), tensor._version) for slot, tensor in parameters.items()}
        if stamps == self.stamps:
            return self
        return replace(self, tensors={**self.tensors, **parameters}, stamps=stamps, shifts={}, _frozen={})

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "summands": {}}  # great, and soon made anew

    def freeze(self, plan: QuantPlan, inputs_of: InputsOf) -> QuantPlan:
        """The plan with every measured parameter taken from its slot.

        Raises GraphError for a slot that nothing was seen at.
        """
        if not plan.is_measured:
            return plan
        return QuantPlan.of(
            {
                node: {operand: self._freeze((node, operand), chosen, inputs_of) for operand, chosen in formats}
                for node, formats in plan.choices
            }
        )

    def require_finite(self, node: str, operands: Iterable[str], parameters: Container[str]) -> None:
        """Raise GraphError for NaN and infinity; minus infinity marks masked places in activations."""
        for operand in operands:
            tensor = self.tensors.get((node, operand))
            is_parameter = operand in parameters
            if tensor is None or bool((tensor.isfinite() | ((tensor == -math.inf) & (not is_parameter))).all()):
                continue
            cure = "train the model anew" if is_parameter else "leave the node in float32, or mend the model"
            raise GraphError(f"node '{node}': {operand} holds NaN or infinity; {cure} before quantising")

    def _freeze(self, slot: Slot, chosen: Format, inputs_of: InputsOf) -> Format:
        if not chosen.is_measured:
            return chosen
        if isinstance(chosen, OutputShift):  # its shift is a matter of the whole node: see MaseGraph.freeze
            return replace(chosen, then=self._freeze(slot, chosen.then, inputs_of) if chosen.then else None)
        if (slot, chosen) not in self._frozen:
            self._frozen[slot, chosen] = self._calibrated(slot, chosen, inputs_of)
        return self._frozen[slot, chosen]

    def _calibrated(self, slot: Slot, chosen: Format, inputs_of: InputsOf) -> Format:
        if slot not in self.tensors:
            raise GraphError(
                f"node '{slot[0]}', {slot[1]}: '{chosen}' is measured on activations of the float model, and there are "
                "none yet; run calibrate_analysis_pass first"
            )
        try:
            if isinstance(chosen, Chain):
                return chosen.calibrated(self.tensors[slot], inputs_of(slot[0]) if chosen.needs_inputs else None)
            return chosen.calibrated(self.tensors[slot])
        except ChopError as error:
            raise GraphError(f"node '{slot[0]}', {slot[1]}: {error}") from error
