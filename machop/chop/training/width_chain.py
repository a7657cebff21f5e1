"""A chain of linear layers and ReLUs that is trained with a fraction width for each value.

All weights and widths are one vector, and `chain_steps` writes a step out. Features that nothing uses are taken out of
the computation for good.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from chop.training.chain_steps import Grid, Layer, Steps
from chop.training.code_costs import EBOPS, CodeCosts
from chop.training.coded_samples import CodedLayer
from chop.training.output_shifts import bits_between
from chop.training.soft_loss import CROSS_ENTROPY, SoftLoss

ROWS = 8192
"""Samples of which ranges are measured at once."""

REFRESHED = 4
"""Steps after which scales, ranges and the gradient of the cost are computed anew."""

ABOVE = 0.49
"""How far a top that is learned may be above the range: far less than a bit, so that its gradient counts soon."""

WITHIN = 0.25
"""Steps within which a weight stays that is zero after a descent."""


class Chain:
    """The weights and widths of a chain of linear layers, and the steps that train them.

    `weights` are `(outputs, inputs)` each and `biases` `(outputs)`. `parameters` is one vector: all weights and biases,
    their fraction widths, the fraction widths of all inputs, and the tops of these: the powers of two below which they
    are, and above which they saturate (infinity: nowhere). `moments` are those of Adam (arXiv:1412.6980).
    """

    def __init__(
        self,
        weights: Sequence[Tensor],
        biases: Sequence[Tensor],
        has_bias: Sequence[bool],
        start: tuple[float, float],
        cost: str = "ebops",
        *,
        half_up: bool = False,
        loss: SoftLoss = CROSS_ENTROPY,
    ) -> None:
        self.cost, self.has_bias, self.half_up, self.loss = cost, list(has_bias), half_up, loss
        self.elements = sum(own.numel() for own in (*weights, *biases))
        self.full = [tuple(own.shape) for own in weights]
        self.kept = [torch.arange(own.shape[1]) for own in weights]
        values = torch.cat([part.flatten() for pair in zip(weights, biases, strict=True) for part in pair])
        inputs = sum(own.shape[1] for own in weights)
        self.parameters = torch.cat(
            [
                values,
                torch.full_like(values, start[0]),
                torch.full((inputs,), start[1]),
                torch.full((inputs,), math.inf),
            ]
        ).contiguous()
        self.moments = [torch.zeros_like(self.parameters), torch.zeros_like(self.parameters)]
        self.steps = self.steps_of_epoch = 0
        self.most, self.least = torch.zeros(2, inputs), torch.zeros(2, inputs)
        """Ranges of all inputs, of this epoch and of the one before."""

        self.idle = torch.zeros(inputs, dtype=torch.long)
        """For how many epochs each input has not been used."""

        self.learns_tops = False
        self.costs: CodeCosts = EBOPS
        """What the cost `ebops` counts in steps."""

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

        self.steps_of_epoch = 0
        self.engine = Steps(
            self.layers, self.has_bias, self.half_up, self.parameters, self.moments, (self.most, self.least), self.loss
        )
        self.engine.learns_tops = self.learns_tops
        self.grid = self._new_grid()

    def _parts(self, flat: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Weights and biases, their fraction widths, and those of the inputs."""
        return flat[: self.count], flat[self.count : 2 * self.count], flat[2 * self.count : -self.inputs]

    @property
    def tops(self) -> Tensor:
        """The tops of the inputs, as they are learned: what they are rounded to counts."""
        return self.parameters[-self.inputs :]

    def learn_tops(self, learns: bool) -> None:
        """Train the tops too, from the ranges as they are, or leave them as they are from now on."""
        self.learns_tops = self.engine.learns_tops = learns

    def _rounded(self) -> tuple[Tensor, Tensor]:
        """The weights and biases as rounded, and the bits of each without its sign."""
        values, fractions, _ = self._parts(self.parameters)
        whole = fractions.round()
        scale = whole.exp2()
        rounded = (values * scale).round_().div_(scale)
        bits = torch.frexp(rounded).exponent.to(whole.dtype).add_(whole)
        return rounded, bits.mul_(rounded != 0)

    def _bounds(self) -> tuple[Tensor, Tensor, Tensor]:
        """The scale of each input, and the least and the greatest code that it may have."""
        fractions = self._parts(self.parameters)[2].round()
        reach = (fractions + self.tops.round()).exp2_().floor_()
        low = -reach
        low[self.layers[0].inputs :] = 0
        return fractions.exp2_(), low, (reach - 1).clamp_(min=0)

    def _reached(self, scale: Tensor) -> tuple[Tensor, Tensor]:
        """The greatest and the least code of each input in the ranges as they are, as if it saturated nowhere."""
        top, bottom = self.most.amax(0) * scale, (self.least.amin(0) * scale).round_()
        return torch.maximum(top.round(), (top + 0.5).floor_()) if self.half_up else top.round_(), bottom

    def _input_bits(self) -> tuple[Tensor, Tensor, Tensor]:
        """The scale of each input, its bits without a sign, and its sign bit: behind a ReLU there is none."""
        scale, low, high = self._bounds()
        top, bottom = self._reached(scale)
        top, bottom = top.minimum(high), bottom.maximum(low)
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
        self.steps += 1
        self.engine.gradients(x.numpy(), shares.numpy(), self.grid, factor)
        self.engine.adam(self.steps, rates)

    @property
    def gradient(self) -> Tensor:
        """The gradient of the last step at all parameters."""
        return torch.from_numpy(self.engine.gradient)

    def _new_grid(self) -> Grid:
        fractions = self._parts(self.parameters)[1]
        rounded = self._rounded()
        scale, bits, sign = self._input_bits()
        reach = bits.exp2()
        parts = (
            fractions.round().exp2_(),
            fractions.round().neg_().exp2_(),
            scale,
            -(reach * sign),
            reach - 1,
            self._cost_gradient(*rounded, bits, sign),
        )
        return Grid(*(part.numpy() for part in parts))

    def _cost_gradient(self, rounded: Tensor, weights: Tensor, bits: Tensor, sign: Tensor) -> Tensor:
        """The gradient of the cost at the fraction widths of weights and biases, and of inputs."""
        on_weights, on_inputs = (weights > 0).to(weights.dtype), (bits > 0).to(bits.dtype)
        on_tops = on_inputs * self.learns_tops
        if self.cost != "ebops":
            return torch.cat([on_weights, on_inputs, on_tops]).div_(self.elements)
        each = torch.cat([bits + sign, bits.new_ones(1)]).mul_(self.costs.product)
        read = torch.zeros_like(each).index_add_(0, self.reads, weights)[:-1].mul_(self.costs.product)
        fixed = torch.from_numpy(self.costs.fixed_by_bit(rounded.numpy(), weights.numpy()))
        by_weight = each[self.reads].add_(fixed.mul_(self.reads < self.inputs))  # a bias has no fixed cost
        return torch.cat([on_weights.mul_(by_weight), on_inputs.mul_(read), on_tops.mul_(read)])

    def next_epoch(self) -> None:
        """Let go of the ranges of the epoch before the last; tops that are learned are not far above the others."""
        if self.learns_tops:
            _, bits, _ = self._input_bits()
            reached = bits - self._parts(self.parameters)[2].round() + ABOVE
            self.tops.copy_(torch.where(bits > 0, self.tops.minimum(reached), self.tops))
        self.steps_of_epoch = 0
        for own in (self.most, self.least):
            own[1] = own[0]
            own[0] = 0

    def outputs(self, x: Tensor) -> Tensor:
        """The outputs `(outputs, samples)` under the ranges as they are."""
        kept = self.most.clone(), self.least.clone()
        found = torch.from_numpy(self.engine.outputs(x.numpy(), self._new_grid()).copy())
        self.most.copy_(kept[0])
        self.least.copy_(kept[1])
        return found

    def measure_ranges(self, x: Tensor) -> None:
        """Measure the ranges on all of `x` `(features, samples)`; nothing is saturated meanwhile but by tops."""
        grid = self._new_grid()
        self.most.zero_()
        self.least.zero_()
        _, low, high = (own.numpy() for own in self._bounds())
        for place in range(0, x.shape[1], ROWS):
            self.engine.outputs(x[:, place : place + ROWS].numpy(), replace(grid, low=low, high=high))

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
        chosen = torch.cat([values, values, stays, stays])
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

    def coded(self) -> tuple[list[CodedLayer], list[Tensor]]:
        """The layers as rounded, without what is not used, and which of the inputs of each are left."""
        inputs, used = self.used()
        values = self._rounded()[0] * used
        fractions = self._parts(self.parameters)[2].round()
        left = [inputs[own.reads].nonzero()[:, 0] for own in self.layers]
        rows = [*left[1:], torch.arange(self.layers[-1].outputs)]
        found = []
        for number, (own, inner, outer) in enumerate(zip(self.layers, left, rows, strict=True)):
            weight = values[own.weights : own.bias].view(own.shape)[outer[:, None], inner]
            bias, fraction = values[own.biases][outer].numpy(), fractions[own.reads][inner].numpy()
            top, rounds_up = self.tops[own.reads][inner].round().numpy(), self.half_up and number > 0
            found.append(CodedLayer(weight.numpy(), bias, fraction, top, rounds_up, self.has_bias[number]))
        return found, left

    def take(self, layers: Sequence[CodedLayer], left: Sequence[Tensor]) -> None:
        """Put back layers as `coded` gave them, changed since; what did not change keeps what it is before rounding.

        A changed number gets the grid that it needs. One that became zero keeps its own value, as far as that rounds
        to zero.
        """
        values, fractions, of_inputs = self._parts(self.parameters)
        rows = [*left[1:], torch.arange(self.layers[-1].outputs)]
        before = self._rounded()[0] * self.used()[1]
        coded, inputs = torch.zeros_like(values), of_inputs.round()
        for own, new, inner, outer in zip(self.layers, layers, left, rows, strict=True):
            coded[own.weights : own.bias].view(own.shape)[outer[:, None], inner] = torch.from_numpy(new.weight)
            coded[own.biases][outer] = torch.from_numpy(new.bias)
            inputs[own.reads][inner] = torch.from_numpy(new.fraction)
            top = torch.from_numpy(new.top)
            self.tops[own.reads][inner] = torch.where(
                top == self.tops[own.reads][inner].round(), self.tops[own.reads][inner], top
            )
        most = WITHIN * fractions.round().neg().exp2()
        finest = torch.from_numpy(bits_between(coded.numpy())) - torch.frexp(coded).exponent
        is_new, is_gone = (coded != before) & (coded != 0), (coded != before) & (coded == 0)
        values.copy_(torch.where(is_new, coded, torch.where(is_gone, values.clamp(-most, most), values)))
        fractions.copy_(torch.where(is_new, finest, fractions))
        of_inputs.copy_(torch.where(inputs == of_inputs.round(), of_inputs, inputs))

    def load_tensors(self, layers: Sequence[Mapping[str, Tensor]]) -> None:
        """Take values, fraction widths and bits of inputs as `tensors` gave them; nothing may have been taken out.

        Inputs saturate above their bits.
        """
        values, fractions, inputs = self._parts(self.parameters)
        for own, layer in zip(self.layers, layers, strict=True):
            values[own.weights : own.bias] = layer["weight_value"].flatten()
            values[own.biases] = layer["bias_value"]
            fractions[own.weights : own.bias] = layer["weight_fraction"].flatten()
            fractions[own.biases] = layer["bias_fraction"]
            inputs[own.reads] = layer["input_fraction"]
            bits = layer["input_bits"]
            self.tops[own.reads] = torch.where(bits > 0, bits - layer["input_sign"] - layer["input_fraction"], math.inf)
        if self.half_up:
            for own, above in zip(self.layers, layers[1:], strict=False):
                values[own.biases] -= (-above["input_fraction"] - 1).exp2() * (above["input_bits"] > 0)

    def free_inputs(self) -> None:
        """Let inputs grow that saturate nowhere in the ranges as they are."""
        scale, low, high = self._bounds()
        top, bottom = self._reached(scale)
        self.tops[(top <= high) & (bottom >= low)] = math.inf

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

    def _with_half_steps(self, flat: dict[str, Tensor], inputs: Tensor) -> dict[str, Tensor]:
        """Weights, and biases with half a step of the input that reads them: cutting bits off then rounds half up."""
        fractions = flat["fraction"].clone()
        values = (flat["value"] * fractions.exp2()).round_().div_(fractions.exp2())
        for own, above in pairwise(self.layers):
            reads = slice(above.first_input, above.first_input + above.inputs)
            finer = self._parts(self.parameters)[2][reads].round() + 1
            biases = slice(own.bias, own.bias + own.outputs)
            is_read = inputs[reads]
            values[biases] += is_read * (-finer).exp2()
            fractions[biases] = torch.where(is_read, torch.maximum(fractions[biases], finer), fractions[biases])
        bits = torch.frexp(values).exponent.to(values.dtype).add_(fractions).mul_(values != 0)
        return {"value": values, "bits": bits, "fraction": fractions}

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
        if self.half_up:
            flat = self._with_half_steps(flat, inputs)
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
