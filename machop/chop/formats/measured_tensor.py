"""A tensor that was measured, or learned, as a parameter of a format: never changed, hashable, kept with a graph."""

from __future__ import annotations

import hashlib

import torch
from torch import Tensor


class MeasuredTensor:
    """A tensor as a value, as a number is one: equal where type, shape and all bits are equal, and usable in a key.

    A format holds it in a field (statistics of a batch norm, a width for each weight); a saved graph keeps the tensor
    beside the weights. `values` `(*shape)`, any type, must not be written on.

    >>> MeasuredTensor(torch.tensor([1, 2])) == MeasuredTensor(torch.tensor([1, 2])), MeasuredTensor(torch.zeros(2))
    (True, MeasuredTensor(float32, 2))
    """

    def __init__(self, values: Tensor) -> None:
        self.values = values.detach().cpu().contiguous().clone()
        raw = self.values.reshape(-1).view(torch.uint8).numpy().data
        self._identity = hashlib.sha256(repr((self.values.dtype, *self.values.shape)).encode() + bytes(raw)).digest()

    def on(self, x: Tensor) -> Tensor:
        """The values on the device of `x`, in their own type."""
        return self.values.to(x.device)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, MeasuredTensor) and self._identity == other._identity

    def __hash__(self) -> int:
        return hash(self._identity)

    def __repr__(self) -> str:
        shape = "x".join(map(str, self.values.shape))
        return f"MeasuredTensor({str(self.values.dtype).removeprefix('torch.')}, {shape or 'scalar'})"
