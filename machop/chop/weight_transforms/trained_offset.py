"""Trained offsets: the difference between the weights that a network has and those that are kept for all networks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from chop.errors import FormatError
from chop.formats.measured_tensor import MeasuredTensor
from chop.weight_transforms.base import WeightTransform


@dataclass(frozen=True)
class TrainedOffset(WeightTransform):
    """Adds `offset` `(*shape)` to a parameter, before everything else; ranges are measured on the sum.

    A training for a whole search space finds offsets for formats (`chop.ir.choice_offsets`); no key of a TOML file asks
    for one.
    """

    context_fields: ClassVar[frozenset[str]] = frozenset({"offset"})

    offset: MeasuredTensor

    def __str__(self) -> str:
        return "trained for the format"

    def apply(self, weights: Tensor) -> Tensor:
        offset = self.offset.on(weights)
        if offset.shape != weights.shape:
            raise FormatError(
                f"the offset was trained for a tensor of shape {tuple(offset.shape)}, not {tuple(weights.shape)}; "
                "train for the space anew"
            )
        return weights + offset.to(weights.dtype)
