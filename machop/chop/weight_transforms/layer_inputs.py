"""What a layer reads on the calibration samples: its activations, and the products that its results are sums of."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from math import prod

import torch
from torch import Tensor

from chop.errors import FormatError


@dataclass(frozen=True)
class WeightMatrices:
    """How weights are matrices `(groups, outputs, columns)`, where a result of the layer is a row times its inputs.

    `inputs_axis` is that of the weights: 1 or -1 for `(outputs, inputs, …)` (linear layers, convolutions), 0 for
    `(inputs, outputs / groups, …)` (transposed convolutions), -2 for `(…, inputs, outputs)` (factors of products).
    """

    inputs_axis: int
    groups: int = 1

    def split(self, weights: Tensor) -> Tensor:
        """Weights `(*shape)` as `(groups, outputs, columns)`; a column is an input, at one place of the kernel."""
        if self.inputs_axis == -2:
            return weights.reshape(1, 1, -1) if weights.ndim == 1 else weights.reshape(-1, *weights.shape[-2:]).mT
        if self.inputs_axis == 0:
            parts = weights.reshape(self.groups, -1, weights.shape[1], prod(weights.shape[2:]))
            return parts.transpose(1, 2).flatten(2)
        return weights.reshape(self.groups, len(weights) // self.groups, -1)

    def joined(self, matrices: Tensor, shape: torch.Size) -> Tensor:
        """The weights `(*shape)` of matrices: the inverse of `split`."""
        if self.inputs_axis == -2:
            return matrices.reshape(shape) if len(shape) == 1 else matrices.mT.reshape(shape)
        if self.inputs_axis == 0:
            parts = matrices.reshape(self.groups, shape[1], -1, prod(shape[2:]))
            return parts.transpose(1, 2).reshape(shape)
        return matrices.reshape(shape)

    def units(self, weights: Tensor) -> Tensor:
        """Weights with one output for each column, which are 1 in that column and 0 elsewhere.

        A layer with these weights returns the values that it multiplies.
        """
        columns = self.split(weights).shape[-1]
        unit = torch.eye(columns, dtype=weights.dtype, device=weights.device)
        if self.inputs_axis == -2:
            return unit.expand(*weights.shape[:-2], columns, columns)
        kernel = weights.shape[2:]
        if self.inputs_axis == 0:
            own = unit.reshape(-1, prod(kernel), columns).mT
            return own.reshape(len(own), columns, *kernel).repeat(self.groups, *[1] * (weights.ndim - 1))
        return unit.reshape(columns, *weights.shape[1:]).repeat(self.groups, *[1] * (weights.ndim - 1))


@dataclass(frozen=True)
class Summands:
    """The second moments of what a layer multiplies with its weights.

    `gram` `(groups, columns, columns)`, float64, is the sum of x xᵀ over the `count` results of an output, x being the
    inputs that one of them reads. With weights W `(outputs, columns)` and rounded ones Q, the squared error of the
    group's results is tr((W - Q) gram (W - Q)ᵀ).
    """

    gram: Tensor
    count: int
    matrices: WeightMatrices

    def errors(self, change: Tensor) -> Tensor:
        """The squared error `(groups, outputs)` that a change `(*shape)` of the weights makes in each output."""
        own = self.matrices.split(change.double())
        return torch.einsum("goc,gcd,god->go", own, self.gram, own)


class LayerInputs(Mapping[str, Tensor]):
    """The activations of a layer in the float model on the calibration samples, by operand (`data_in` `(samples, …)`).

    `summands` are worked out upon need. Raises FormatError there for a layer whose results are no sums of products.
    """

    def __init__(self, seen: Mapping[str, Tensor], summands: Callable[[], Summands] | None = None) -> None:
        self._seen = seen
        self._summands = summands

    @classmethod
    def of_linear(cls, x: Tensor) -> LayerInputs:
        """The inputs of a linear layer that reads `x` `(…, inputs)`."""
        rows = x.double().flatten(0, -2)
        return cls({"data_in": x}, lambda: Summands((rows.mT @ rows).unsqueeze(0), len(rows), WeightMatrices(-1)))

    @cached_property
    def summands(self) -> Summands:
        """The values that the layer multiplies with its weights."""
        if self._summands is None:
            raise FormatError("the inputs that a layer sums over are not known here; calibrate the graph first")
        return self._summands()

    def __getitem__(self, operand: str) -> Tensor:
        return self._seen[operand]

    def __iter__(self) -> Iterator[str]:
        return iter(self._seen)

    def __len__(self) -> int:
        return len(self._seen)
