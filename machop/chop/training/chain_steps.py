"""The steps that train a chain of linear layers and ReLUs, written out in few passes over memory.

Small arrays are cheaper by numpy than by torch (a call costs a fifth), products of matrices are torch's; both share
memory. Samples are columns: `(features, samples)`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from chop.training.soft_loss import SoftLoss

LN2 = math.log(2)
BETAS, EPSILON = (0.9, 0.999), 1e-7

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Layer:
    """Where the numbers of a layer lie among all weights, and among all inputs; which features are left of it."""

    outputs: int
    inputs: int
    weights: int
    bias: int
    first_input: int

    @property
    def reads(self) -> slice:
        """Its inputs among those of all layers."""
        return slice(self.first_input, self.first_input + self.inputs)

    @property
    def biases(self) -> slice:
        """Its biases among all weights."""
        return slice(self.bias, self.bias + self.outputs)

    @property
    def shape(self) -> tuple[int, int]:
        """That of its weight."""
        return self.outputs, self.inputs


@dataclass(frozen=True)
class Grid:
    """What is computed from widths and ranges every few steps: both change slowly.

    The scale of each weight and its inverse; of each input its scale, its least and its greatest code; the gradient of
    the cost at all fraction widths.
    """

    scale: Floats
    inverse: Floats
    input_scale: Floats
    low: Floats
    high: Floats
    of_cost: Floats


class Pass:
    """Memory of a layer for one number of samples, as tensors and as arrays that share it.

    `codes` and `whole` are those of its input before and after rounding, `is_out` where it is saturated, `weight` is in
    steps of these codes.
    """

    def __init__(self, own: Layer, samples: int) -> None:
        self.tensors = [torch.empty(own.inputs, samples) for _ in range(3)]
        self.tensors += [torch.empty(own.shape), torch.empty(own.outputs, samples)]
        self.is_out = np.empty((own.inputs, samples), np.bool_)
        self.codes, self.whole, self.below, self.weight, self.result = (part.numpy() for part in self.tensors)


class Steps:
    """Forward and backward through `layers`, and Adam (arXiv:1412.6980), on memory that is kept.

    `parameters`, `moments` and the ranges `most` and `least` `(2, inputs)` are the chain's own, and change.
    """

    def __init__(
        self,
        layers: Sequence[Layer],
        has_bias: Sequence[bool],
        half_up: bool,
        parameters: Tensor,
        moments: Sequence[Tensor],
        ranges: tuple[Tensor, Tensor],
        loss: SoftLoss,
    ) -> None:
        self.layers, self.has_bias, self.half_up, self.loss = layers, has_bias, half_up, loss
        self.learns_tops = False
        self.count = layers[-1].bias + layers[-1].outputs
        self.parameters: Floats = parameters.numpy()
        self.moments: list[Floats] = [own.numpy() for own in moments]
        self.most, self.least = (own.numpy() for own in ranges)
        gradient, rounded = torch.zeros_like(parameters), torch.empty(self.count)
        self.gradient: Floats = gradient.numpy()
        self.rounded: Floats = rounded.numpy()
        self.bias = [rounded[own.biases, None] for own in layers]
        self.for_weight = [gradient[own.weights : own.bias].view(own.shape) for own in layers]
        self.spare, self.root = np.empty_like(self.gradient), np.empty_like(self.gradient)
        self._memory: dict[int, list[Pass]] = {}

    def gradients(self, x: Floats, shares: Floats, grid: Grid, factor: float) -> None:
        """The gradients of all parameters: of the mean loss with soft targets, and `factor` times the cost's."""
        above = self.outputs(x, grid)
        self.loss.to_gradient(above, shares)
        above *= 1 / x.shape[1]
        self._backward(grid, x.shape[1])
        for_values, for_fractions = self.gradient[: self.count], self.gradient[self.count : 2 * self.count]
        np.subtract(self.parameters[: self.count], self.rounded, out=for_fractions)
        for_fractions *= for_values
        for_fractions *= LN2
        self.gradient[self.count :] += grid.of_cost * np.float32(factor)

    def outputs(self, x: Floats, grid: Grid) -> Floats:
        """The outputs `(outputs, samples)`, which the next call overwrites. The ranges grow by what is seen."""
        np.multiply(self.parameters[: self.count], grid.scale, out=self.rounded)
        np.rint(self.rounded, out=self.rounded)
        self.rounded *= grid.inverse
        for number, (own, part) in enumerate(zip(self.layers, self._passes(x.shape[1]), strict=True)):
            here = own.reads
            np.maximum(self.most[0, here], x.max(axis=1), out=self.most[0, here])
            if not number:
                np.minimum(self.least[0, here], x.min(axis=1), out=self.least[0, here])
            np.multiply(x, grid.input_scale[here, None], out=part.codes)
            np.maximum(part.codes, grid.low[here, None], out=part.codes)
            np.minimum(part.codes, grid.high[here, None], out=part.codes)
            if number and self.half_up:
                np.add(part.codes, np.float32(0.5), out=part.whole)
                np.floor(part.whole, out=part.whole)
            else:
                np.rint(part.codes, out=part.whole)
            weight = self.rounded[own.weights : own.bias].reshape(own.shape)
            np.divide(weight, grid.input_scale[here], out=part.weight)
            _, whole, _, scaled, result = part.tensors
            torch.addmm(self.bias[number], scaled, whole, out=result)
            x = part.result
        return x

    def _passes(self, samples: int) -> list[Pass]:
        if samples not in self._memory:
            self._memory[samples] = [Pass(own, samples) for own in self.layers]
        return self._memory[samples]

    def _backward(self, grid: Grid, samples: int) -> None:
        """The gradients of weights, biases and the inputs' fraction widths; those of the outputs are in their place."""
        for_inputs, for_tops = self.gradient[2 * self.count :].reshape(2, -1)
        passes = self._passes(samples)
        above = passes[-1].tensors[-1]
        for number in reversed(range(len(self.layers))):
            own, part = self.layers[number], passes[number]
            codes, whole, below, weight, _ = part.tensors
            torch.mm(above, whole.t(), out=self.for_weight[number])
            self.gradient[own.weights : own.bias].reshape(own.shape)[:] /= grid.input_scale[own.reads]
            if self.has_bias[number]:
                np.sum(above.numpy(), axis=1, out=self.gradient[own.biases])
            torch.mm(weight.t(), above, out=below)
            np.subtract(part.codes, part.whole, out=part.whole)
            np.einsum("ij,ij->i", part.whole, part.below, out=for_inputs[own.reads])
            if self.learns_tops:
                self._at_tops(part, grid, own.reads, for_tops[own.reads], has_sign=not number)
            if number:
                torch.ops.aten.threshold_backward.grad_input(below, codes, 0.0, grad_input=below)
                part.below *= grid.input_scale[own.reads, None]
            above = below
        for_inputs *= LN2
        for_tops *= LN2

    def _at_tops(self, part: Pass, grid: Grid, reads: slice, found: Floats, *, has_sign: bool) -> None:
        """The gradients of tops: a saturated input doubles with each; and none for what is before it."""
        np.greater_equal(part.codes, grid.high[reads, None], out=part.is_out)
        np.multiply(part.below, part.is_out, out=part.whole)
        part.whole.sum(axis=1, out=found)
        found *= grid.high[reads] + 1
        part.below -= part.whole
        if has_sign:
            np.less_equal(part.codes, grid.low[reads, None], out=part.is_out)
            np.multiply(part.below, part.is_out, out=part.whole)
            found += part.whole.sum(axis=1) * grid.low[reads]

    def adam(self, steps: int, rates: tuple[float, float]) -> None:
        """The step number `steps` along the gradients; `rates` are those of weights and of widths."""
        first, second = self.moments
        spare, root = self.spare, self.root
        np.subtract(self.gradient, first, out=spare)
        spare *= 1 - BETAS[0]
        first += spare
        np.multiply(self.gradient, self.gradient, out=spare)
        spare *= 1 - BETAS[1]
        second *= BETAS[1]
        second += spare
        np.sqrt(second, out=root)
        root *= 1 / math.sqrt(1 - BETAS[1] ** steps)
        root += EPSILON
        np.divide(first, root, out=spare)
        scale = 1 - BETAS[0] ** steps
        spare[: self.count] *= rates[0] / scale
        spare[self.count :] *= rates[1] / scale
        self.parameters -= spare
