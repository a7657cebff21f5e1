"""A chain of linear layers and ReLUs that is trained with a fraction width for each value, in few passes over memory.

No graph of gradients is built: a step is written out, on vectors in planes `(features, samples)` and on one vector of
all weights and widths. Features that nothing uses are taken out of the computation for good.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

LN2 = math.log(2)
BETAS, EPSILON = (0.9, 0.999), 1e-7
ROWS = 8192
"""Samples of which ranges are measured at once."""

REFRESHED = 4
"""Steps after which scales, ranges and the gradient of the cost are computed anew."""


@dataclass(frozen=True)
class Layer:
    """Where the numbers of a layer lie among all weights, and among all inputs; which features are left of it."""

    outputs: int
    inputs: int
    weights: int
    bias: int
    first_input: int


@dataclass(frozen=True)
class Grid:
    """What is computed from widths and ranges every few steps: both change slowly.

    The scale of each weight and its inverse; of each input its scale, its least and its greatest code; the gradient of
    the cost at all fraction widths.
    """

    scale: Tensor
    inverse: Tensor
    input_scale: Tensor
    low: Tensor
    high: Tensor
    of_cost: Tensor


class Chain:
    """The weights and widths of a chain of linear layers, and the steps that train them.

    `weights` are `(outputs, inputs)` each and `biases` `(outputs)`. `parameters` is one vector: all weights and biases,
    their fraction widths, the fraction widths of all inputs; `moments` are those of Adam (arXiv:1412.6980).
    """

    def __init__(
        self,
        weights: Sequence[Tensor],
        biases: Sequence[Tensor],
        has_bias: Sequence[bool],
        start: tuple[float, float],
        cost: str = "ebops",
    ) -> None:
        self.cost, self.has_bias = cost, list(has_bias)
        self.elements = sum(own.numel() for own in (*weights, *biases))
        self.full = [tuple(own.shape) for own in weights]
        self.kept = [torch.arange(own.shape[1]) for own in weights]
        values = torch.cat([part.flatten() for pair in zip(weights, biases, strict=True) for part in pair])
        inputs = sum(own.shape[1] for own in weights)
        self.parameters = torch.cat(
            [values, torch.full_like(values, start[0]), torch.full((inputs,), start[1])]
        ).contiguous()
        self.moments = [torch.zeros_like(self.parameters), torch.zeros_like(self.parameters)]
        self.steps = self.steps_of_epoch = 0
        self.most, self.least = torch.zeros(2, inputs), torch.zeros(2, inputs)
        """Ranges of all inputs, of this epoch and of the one before."""

        self.idle = torch.zeros(inputs, dtype=torch.long)
        """For how many epochs each input has not been used."""

        self._lay_out()

    def _lay_out(self) -> None:
        self.layers: list[Layer] = []
        place = first = 0
        outputs = [*(len(own) for own in self.kept[1:]), self.full[-1][0]]
        for own, rows in zip(self.kept, outputs, strict=True):
            self.layers.append(Layer(rows, len(own), place, place + rows * len(own), first))
            place, first = place + rows * (len(own) + 1), first + len(own)
        self.count, self.inputs = place, first
        self.reads = torch.cat(
            [
                torch.cat(
                    [torch.arange(own.inputs).repeat(own.outputs) + own.first_input, torch.full((own.outputs,), first)]
                )
                for own in self.layers
            ]
        )
        """For each weight the input that it is multiplied with; for a bias one more, of one bit."""

        self.gradient = torch.empty_like(self.parameters)
        self.steps_of_epoch = 0
        self.grid = self._new_grid()
        self._buffers: dict[tuple[int, int, int], list[Tensor]] = {}

    def _parts(self, flat: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Weights and biases, their fraction widths, and those of the inputs."""
        return flat[: self.count], flat[self.count : 2 * self.count], flat[2 * self.count :]

    def _rounded(self) -> tuple[Tensor, Tensor]:
        """The weights and biases as rounded, and the bits of each without its sign."""
        values, fractions, _ = self._parts(self.parameters)
        whole = fractions.round()
        scale = whole.exp2()
        rounded = (values * scale).round_().div_(scale)
        bits = torch.frexp(rounded).exponent.to(whole.dtype).add_(whole)
        return rounded, bits.mul_(rounded != 0)

    def _input_bits(self) -> tuple[Tensor, Tensor, Tensor]:
        """The scale of each input, its bits without a sign, and its sign bit: behind a ReLU there is none."""
        scale = self._parts(self.parameters)[2].round().exp2_()
        top, bottom = (self.most.amax(0) * scale).round_(), (self.least.amin(0) * scale).round_()
        bits = torch.frexp(torch.maximum(top, -bottom - 1).clamp_(min=0)).exponent.to(scale.dtype)
        sign = ((bits > 0) | (bottom < 0)).to(bits.dtype).mul_((bottom < 0).any())
        sign[self.layers[0].inputs :] = 0
        return scale, bits, sign

    def step(self, x: Tensor, shares: Tensor, factor: float, rates: tuple[float, float]) -> None:
        """One step of Adam on samples `x` `(features, samples)` with soft targets `(classes, samples)`.

        `factor` is that of the cost in the loss; `rates` are the learning rates of weights and of widths.
        """
        if self.steps_of_epoch % REFRESHED == 0:
            self.grid = self._new_grid()
        self.steps_of_epoch += 1
        grid = self.grid
        values = self._parts(self.parameters)[0]
        rounded = (values * grid.scale).round_().mul_(grid.inverse)
        outputs, seen = self._forward(x, rounded, grid)
        above = torch.softmax(outputs, 0).sub_(shares).div_(x.shape[1])
        self._backward(above, seen, grid)
        for_values, for_fractions, _ = self._parts(self.gradient)
        torch.sub(values, rounded, out=for_fractions)
        for_fractions.mul_(for_values).mul_(LN2)
        self.gradient[self.count :].add_(grid.of_cost, alpha=factor)
        self._adam(rates)

    def _new_grid(self) -> Grid:
        fractions = self._parts(self.parameters)[1]
        _, weights = self._rounded()
        scale, bits, sign = self._input_bits()
        reach = bits.exp2()
        return Grid(
            fractions.round().exp2_(),
            fractions.round().neg_().exp2_(),
            scale,
            -(reach * sign),
            reach - 1,
            self._cost_gradient(weights, bits, sign),
        )

    def _cost_gradient(self, weights: Tensor, bits: Tensor, sign: Tensor) -> Tensor:
        """The gradient of the cost at the fraction widths of weights and biases, and of inputs."""
        on_weights, on_inputs = (weights > 0).to(weights.dtype), (bits > 0).to(bits.dtype)
        if self.cost != "ebops":
            return torch.cat([on_weights, on_inputs]).div_(self.elements)
        each = torch.cat([bits + sign, bits.new_ones(1)])
        read = torch.zeros_like(each).index_add_(0, self.reads, weights)[:-1]
        return torch.cat([on_weights.mul_(each[self.reads]), on_inputs.mul_(read)])

    def _forward(self, x: Tensor, rounded: Tensor, grid: Grid) -> tuple[Tensor, list[tuple[Tensor, Tensor, Tensor]]]:
        seen = []
        for number, own in enumerate(self.layers):
            here = slice(own.first_input, own.first_input + own.inputs)
            codes, whole, result = self._memory(number, own, x.shape[1])
            torch.maximum(self.most[0, here], x.amax(1), out=self.most[0, here])
            if not number:
                torch.minimum(self.least[0, here], x.amin(1), out=self.least[0, here])
            torch.mul(x, grid.input_scale[here, None], out=codes)
            codes.clamp_(grid.low[here, None], grid.high[here, None])
            torch.round(codes, out=whole)
            weight = rounded[own.weights : own.bias].view(own.outputs, own.inputs) / grid.input_scale[here]
            bias = rounded[own.bias : own.bias + own.outputs]
            x = torch.addmm(bias[:, None], weight, whole, out=result)
            seen.append((codes, whole, weight))
        return x, seen

    def _memory(self, number: int, own: Layer, samples: int) -> list[Tensor]:
        """Memory for the codes of a layer's input before and after rounding, and for its result."""
        key = (number, samples, own.inputs)
        if key not in self._buffers:
            rows = (own.inputs, own.inputs, own.outputs)
            self._buffers[key] = [self.parameters.new_empty(count, samples) for count in rows]
        return self._buffers[key]

    def _backward(self, above: Tensor, seen: list[tuple[Tensor, Tensor, Tensor]], grid: Grid) -> None:
        for_values, _, for_inputs = self._parts(self.gradient)
        for number in reversed(range(len(self.layers))):
            own = self.layers[number]
            codes, whole, weight = seen[number]
            here = slice(own.first_input, own.first_input + own.inputs)
            for_weight = for_values[own.weights : own.bias].view(own.outputs, own.inputs)
            torch.mm(above, whole.t(), out=for_weight)
            for_weight.div_(grid.input_scale[here])
            for_bias = for_values[own.bias : own.bias + own.outputs]
            torch.sum(above, 1, out=for_bias) if self.has_bias[number] else for_bias.zero_()
            below = weight.t() @ above
            torch.sub(codes, whole, out=whole).mul_(below)
            torch.sum(whole, 1, out=for_inputs[here])
            if number:
                below = torch.ops.aten.threshold_backward(below, codes, 0.0)
                above = below.mul_(grid.input_scale[here, None])
        for_inputs.mul_(LN2)

    def _adam(self, rates: tuple[float, float]) -> None:
        self.steps += 1
        first, second = self.moments
        first.lerp_(self.gradient, 1 - BETAS[0])
        second.mul_(BETAS[1]).addcmul_(self.gradient, self.gradient, value=1 - BETAS[1])
        root = second.sqrt().div_(math.sqrt(1 - BETAS[1] ** self.steps)).add_(EPSILON)
        way = first / root
        scale = 1 - BETAS[0] ** self.steps
        self.parameters[: self.count].sub_(way[: self.count], alpha=rates[0] / scale)
        self.parameters[self.count :].sub_(way[self.count :], alpha=rates[1] / scale)

    def next_epoch(self) -> None:
        """Let go of the ranges of the epoch before the last."""
        self.steps_of_epoch = 0
        for own in (self.most, self.least):
            own[1] = own[0]
            own[0] = 0

    def outputs(self, x: Tensor) -> Tensor:
        """The outputs `(outputs, samples)` under the ranges as they are."""
        kept = self.most.clone(), self.least.clone()
        found = self._forward(x, self._rounded()[0], self._new_grid())[0].clone()
        self.most, self.least = kept
        return found

    def measure_ranges(self, x: Tensor) -> None:
        """Measure the ranges on all of `x` `(features, samples)`; nothing is saturated meanwhile."""
        grid, rounded = self._new_grid(), self._rounded()[0]
        self.most.zero_()
        self.least.zero_()
        low, high = torch.zeros_like(grid.low), torch.full_like(grid.high, math.inf)
        low[: self.layers[0].inputs] = -math.inf
        for place in range(0, x.shape[1], ROWS):
            self._forward(x[:, place : place + ROWS], rounded, replace(grid, low=low, high=high))

    def used(self) -> tuple[Tensor, Tensor]:
        """Which inputs, and which weights and biases, the result depends on."""
        rounded, _ = self._rounded()
        _, bits, sign = self._input_bits()
        inputs, values = bits + sign > 0, rounded != 0
        is_read = torch.ones(self.layers[-1].outputs, dtype=torch.bool)
        for own in reversed(self.layers):
            here = slice(own.first_input, own.first_input + own.inputs)
            weights = values[own.weights : own.bias].view(own.outputs, own.inputs)
            weights &= is_read[:, None] & inputs[here]
            values[own.bias : own.bias + own.outputs] &= is_read
            inputs[here] &= weights.any(0)
            is_read = inputs[here]
        return inputs, values

    def drop_unused(self, patience: int) -> bool:
        """Take out the inputs that were not used for `patience` calls; whether there were any."""
        inputs, _ = self.used()
        self.idle = torch.where(inputs, 0, self.idle + 1)
        stays = self.idle < patience
        for own in self.layers:  # a layer keeps an input at least
            here = slice(own.first_input, own.first_input + own.inputs)
            if not stays[here].any():
                stays[own.first_input] = True
        if bool(stays.all()):
            return False
        values = torch.zeros(self.count, dtype=torch.bool)
        left = [stays[own.first_input : own.first_input + own.inputs] for own in self.layers]
        rows = [*left[1:], torch.ones(self.layers[-1].outputs, dtype=torch.bool)]
        for own, inner, outer in zip(self.layers, left, rows, strict=True):
            values[own.weights : own.bias] = (outer[:, None] & inner).flatten()
            values[own.bias : own.bias + own.outputs] = outer
        chosen = torch.cat([values, values, stays])
        self.parameters = self.parameters[chosen].contiguous()
        self.moments = [own[chosen].contiguous() for own in self.moments]
        self.most, self.least, self.idle = self.most[:, stays], self.least[:, stays], self.idle[stays]
        self.kept = [own[inner] for own, inner in zip(self.kept, left, strict=True)]
        self._lay_out()
        return True

    def ebops(self) -> float:
        """Bits of each input times bits of each weight that is used, from its highest to its lowest one that is set."""
        rounded, spans = self._rounded()
        _, bits, sign = self._input_bits()
        whole = self._parts(self.parameters)[1].round()
        codes = (rounded * whole.exp2()).abs().to(torch.int64)
        spans = spans - torch.log2((codes & -codes).clamp(min=1).to(spans.dtype))
        each = torch.cat([bits + sign, bits.new_zeros(1)])
        return float((spans * each[self.reads])[self.used()[1]].sum())

    def state(self) -> dict[str, Tensor]:
        """All that a resume needs."""
        named = {"parameters": self.parameters, "first": self.moments[0], "second": self.moments[1]}
        named |= {"most": self.most, "least": self.least, "idle": self.idle, "steps": torch.tensor(self.steps)}
        named |= {f"kept.{number}": own for number, own in enumerate(self.kept)}
        return {name: own.clone() for name, own in named.items()}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Put back what `state` gave."""
        own = {name: tensor.clone() for name, tensor in state.items()}
        self.parameters, self.moments = own["parameters"], [own["first"], own["second"]]
        self.most, self.least, self.idle, self.steps = own["most"], own["least"], own["idle"], int(own["steps"])
        self.kept = [own[f"kept.{number}"] for number in range(len(self.kept))]
        self._lay_out()

    def tensors(self) -> list[dict[str, Any]]:
        """For each layer, in its full shape: weight, bias, and the bits and fraction widths of these and of its input.

        What is not used, or was taken out, is zero and has no bits.
        """
        values, fractions, input_fractions = self._parts(self.parameters)
        _, value_bits = self._rounded()
        _, bits, sign = self._input_bits()
        inputs, used = self.used()
        found = []
        outer = [*self.kept[1:], torch.arange(self.full[-1][0])]
        flat = {"value": values * used, "bits": value_bits * used, "fraction": fractions.round() * used}
        of_inputs = {"bits": bits * inputs, "sign": sign * inputs, "fraction": input_fractions.round() * inputs}
        for own, (rows, columns), inner, outer_kept in zip(self.layers, self.full, self.kept, outer, strict=True):
            layer: dict[str, Any] = {}
            for name, tensor in flat.items():
                full = values.new_zeros(rows, columns)
                part = tensor[own.weights : own.bias].view(own.outputs, own.inputs)
                full[outer_kept[:, None], inner[None]] = part
                layer[f"weight_{name}"] = full
                bias = values.new_zeros(rows)
                bias[outer_kept] = tensor[own.bias : own.bias + own.outputs]
                layer[f"bias_{name}"] = bias
            for name, tensor in of_inputs.items():
                whole = values.new_zeros(columns)
                whole[inner] = tensor[own.first_input : own.first_input + own.inputs]
                layer[f"input_{name}"] = whole
            found.append(layer)
        return found
