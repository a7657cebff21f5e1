"""Layers whose fraction widths are parameters: rounding with a surrogate gradient, ranges, costs."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from chop.formats import FLOAT_BITS

LN2 = math.log(2)


class RoundParameter(torch.autograd.Function):
    """Rounds a parameter to 2^-f, half to even, without saturation.

    Going back, the gradient passes unchanged to the parameter; a fraction width gets ln 2 · (x - q) times it, the
    derivative of the rounding error's size, which halves with each bit (arXiv:2405.00645, section III.B).
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, fraction: Tensor) -> Tensor:
        scale = fraction.round().exp2_()
        rounded = (x * scale).round_().div_(scale)
        ctx.save_for_backward(x - rounded)
        ctx.shape = fraction.shape
        return rounded

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        (error,) = ctx.saved_tensors
        return gradients[0], error.mul(gradients[0]).mul_(LN2).sum_to_size(ctx.shape)


class RoundInput(torch.autograd.Function):
    """Rounds what a layer reads to 2^-f and saturates it; `low` and `high` are codes, with the shape of `fraction`.

    The gradient passes unchanged where nothing is cut off below (what a ReLU makes zero); `f` gets its own as in
    `RoundParameter`. All passes but one are in place.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, fraction: Tensor, low: Tensor, high: Tensor, is_cut: bool) -> Tensor:
        scale = fraction.round().exp2_()
        codes = (x * scale).clamp_(low, high)
        rounded = codes.round()
        codes -= rounded
        ctx.is_cut, ctx.shape = is_cut, fraction.shape
        inverse = scale.reciprocal_()
        ctx.save_for_backward(codes, rounded, inverse, x if is_cut else low)
        return rounded * inverse

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        error, _, inverse, x = ctx.saved_tensors
        own = (error * gradients[0]).sum_to_size(ctx.shape) if ctx.needs_input_grad[1] else None
        own = own.mul_(inverse).mul_(LN2) if own is not None else None
        below = gradients[0]
        if ctx.is_cut and ctx.needs_input_grad[0]:
            below = torch.ops.aten.threshold_backward(gradients[0], x, 0.0)
        return below, own, None, None, None


class LearnedLayer(nn.Module):
    """A linear or convolutional layer in fixed point whose fraction widths are trained.

    `weight_fraction`, `bias_fraction` and `input_fraction` are real numbers, rounded where they are used; their shapes
    broadcast to the weight, the bias and a sample of the input. `least` and `most` are the range of the input so far.
    `behind_relu`: a ReLU before the layer is part of its rounding. Operands that are not among `learns` stay in
    float, with its bits.
    """

    least: Tensor
    most: Tensor

    def __init__(
        self,
        inner: nn.Module,
        input_shape: tuple[int, ...],
        granularities: tuple[str, str],
        start: tuple[float, float],
        behind_relu: bool,
        learns: frozenset[str] = frozenset({"data_in", "weight", "bias"}),
    ) -> None:
        super().__init__()
        weight: Any = inner.weight
        bias: Any = inner.bias
        self.inner_call = _call_of(inner)
        self.behind_relu = behind_relu
        self.weight = nn.Parameter(weight.detach().clone())
        self.has_bias = bias is not None
        self.learns = learns if self.has_bias else learns - {"bias"}
        self.bias = nn.Parameter(bias.detach().clone() if self.has_bias else weight.new_zeros(len(weight)))
        self.weight_fraction = nn.Parameter(_weight_start(self.weight.detach(), granularities[0], start[0]))
        self.bias_fraction = nn.Parameter(_weight_start(self.bias.detach(), granularities[0], start[0] + 3))
        shape = granular_input(input_shape, granularities[1])
        self.input_fraction = nn.Parameter(torch.full(shape, start[1]))
        self.register_buffer("least", torch.zeros(shape))
        self.register_buffer("most", torch.zeros(shape))
        self.positions = 1
        """How often each weight is used for one sample."""

    @property
    def input_dims(self) -> int:
        """Dimensions of a sample of the input."""
        return self.input_fraction.ndim

    def forward(self, x: Tensor) -> Tensor:
        """`(batch, …)` as the layer itself takes it."""
        weight, bias = self.weight, self.bias
        if "weight" in self.learns:
            weight = RoundParameter.apply(weight, self.weight_fraction)  # type: ignore[no-untyped-call]
        if "bias" in self.learns:
            bias = RoundParameter.apply(bias, self.bias_fraction)  # type: ignore[no-untyped-call]
        if "data_in" in self.learns:
            if self.training:
                self.widen(x)
            x = RoundInput.apply(x, self.input_fraction, *self.codes(), self.behind_relu)  # type: ignore[no-untyped-call]
        elif self.behind_relu:
            x = x.relu()
        found: Tensor = self.inner_call(x, weight, bias if self.has_bias else None)
        return found

    @torch.no_grad()
    def widen(self, x: Tensor) -> None:
        """Let the range hold `x` too."""
        first = x.ndim - self.input_dims
        over = [*range(first), *(first + dim for dim, length in enumerate(self.most.shape) if length == 1)]
        torch.maximum(self.most, x.amax(over).reshape(self.most.shape), out=self.most)
        if not self.behind_relu:
            torch.minimum(self.least, x.amin(over).reshape(self.most.shape), out=self.least)

    @torch.no_grad()
    def forget_range(self) -> None:
        """Start ranges anew."""
        self.least.zero_()
        self.most.zero_()

    @torch.no_grad()
    def input_bits(self) -> tuple[Tensor, Tensor]:
        """Bits of each value of the input, without a sign; and its sign bit (0 or 1), which all have or none."""
        if "data_in" not in self.learns:
            return torch.full_like(self.most, FLOAT_BITS), torch.zeros_like(self.most)
        scale = self.input_fraction.round().exp2()
        top, bottom = (self.most * scale).round_(), (self.least * scale).round_()
        is_signed = 0.0 if self.behind_relu else (bottom < 0).any().to(top.dtype)
        top = torch.maximum(top, -bottom - 1)
        bits = torch.where(top > 0, torch.floor(torch.log2(top.clamp(min=1))) + 1, torch.zeros_like(top))
        return bits, ((bits > 0) | (bottom < 0)).to(bits.dtype).mul_(is_signed)

    @torch.no_grad()
    def codes(self) -> tuple[Tensor, Tensor]:
        """The least and the greatest code of each value of the input."""
        bits, sign = self.input_bits()
        reach = bits.exp2()
        return -reach * sign, reach - 1

    @torch.no_grad()
    def weight_bits(self) -> Tensor:
        """Bits of each weight without its sign, from its highest bit to its fraction width; 0 for one that is zero."""
        if "weight" not in self.learns:
            return torch.full_like(self.weight, FLOAT_BITS)
        return _magnitude_bits(self.weight, self.weight_fraction)

    @torch.no_grad()
    def bias_bits(self) -> Tensor:
        """Bits of each bias without its sign; 0 for one that is zero."""
        return _magnitude_bits(self.bias, self.bias_fraction) if "bias" in self.learns else torch.zeros_like(self.bias)

    @torch.no_grad()
    def add_cost_gradient(self, factor: float, cost: str, elements: int) -> None:
        """Add `factor` times the gradient of the layer's cost to those of the fraction widths."""
        bits, sign = self.input_bits()
        weights = self.weight_bits()
        on_weight, on_input = (weights > 0).to(weights.dtype), (bits > 0).to(bits.dtype)
        if cost == "ebops":
            per_input = self._by_input(bits + sign)
            for_weight = on_weight * per_input * self.positions
            for_input = self._to_input(weights) * on_input * self.positions
            for_bias = (self.bias_bits() > 0).to(weights.dtype) * self.positions
        else:
            for_weight, for_input = widest_of(on_weight, self.weight_fraction.shape) / elements, on_input / elements
            on_bias = (self.bias_bits() > 0).to(weights.dtype)
            for_bias = widest_of(on_bias, self.bias_fraction.shape) / elements
        gradients = {"weight": for_weight, "data_in": for_input, "bias": for_bias}
        for operand, parameter in self.fractions().items():
            _add(parameter, gradients[operand], factor)

    def fractions(self) -> dict[str, nn.Parameter]:
        """The fraction widths of the operands that learn."""
        found = {"data_in": self.input_fraction, "weight": self.weight_fraction, "bias": self.bias_fraction}
        return {operand: own for operand, own in found.items() if operand in self.learns}

    def _by_input(self, values: Tensor) -> Tensor:
        """Numbers of the input's values as they meet the weight `(outputs, inputs, …)`: positions are averaged."""
        if self.weight.ndim == 2:
            return values.expand(self.weight.shape[1])
        channels = values.flatten(1).mean(1) if values.ndim > 1 else values
        per_group = self.weight.shape[1]
        spread = channels.expand(per_group * self.groups).reshape(self.groups, 1, per_group)
        spread = spread.expand(self.groups, len(self.weight) // self.groups, per_group).flatten(0, 1)
        return spread.reshape(len(self.weight), per_group, *[1] * (self.weight.ndim - 2))

    def _to_input(self, of_weights: Tensor) -> Tensor:
        """The sums of numbers of the weights at each value of the input: the transpose of `_by_input`."""
        if self.weight.ndim == 2:
            return of_weights.sum(0).sum_to_size(self.input_fraction.shape)
        sums = of_weights.flatten(2).sum(2).reshape(self.groups, -1, self.weight.shape[1]).sum(1).flatten()
        shape = self.input_fraction.shape
        places = math.prod(shape[1:])
        sums = sums if shape[0] > 1 else sums.sum().reshape(1)
        return (sums / places).reshape(-1, *[1] * (len(shape) - 1)).expand(shape)

    @property
    def groups(self) -> int:
        """Groups of channels."""
        return int(getattr(self.inner_call, "groups", 1))

    @torch.no_grad()
    def ebops(self) -> float:
        """Bits of each input times bits of each weight, from its highest to its lowest one that is set."""
        bits, sign = self.input_bits()
        inputs = self._by_input(bits + sign)
        if "weight" not in self.learns:
            return float((self.weight_bits() * inputs).sum()) * self.positions
        codes = (self.weight * self.weight_fraction.round().exp2()).round().abs().to(torch.int64)
        spans = self.weight_bits() - torch.log2((codes & -codes).clamp(min=1).to(self.weight.dtype))
        return float((torch.where(codes > 0, spans, torch.zeros_like(spans)) * inputs).sum()) * self.positions


class _Convolution:
    """The call of a convolution with weights and bias given."""

    def __init__(self, inner: Any) -> None:
        self.function = F.conv1d if isinstance(inner, nn.Conv1d) else F.conv2d
        self.stride, self.padding, self.dilation = inner.stride, inner.padding, inner.dilation
        self.groups = inner.groups

    def __call__(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return self.function(x, weight, bias, self.stride, self.padding, self.dilation, self.groups)


def _call_of(inner: nn.Module) -> Any:
    return F.linear if isinstance(inner, nn.Linear) else _Convolution(inner)


def _magnitude_bits(x: Tensor, fraction: Tensor) -> Tensor:
    codes = (x * fraction.round().exp2()).round_().abs_()
    return torch.where(codes > 0, torch.floor(torch.log2(codes.clamp(min=1))) + 1, torch.zeros_like(codes))


def widest_of(bits: Tensor, shape: tuple[int, ...]) -> Tensor:
    """The bits, each the greatest of the values that share a number of `shape`, which broadcasts to them.

    >>> widest_of(torch.tensor([[1, 3], [0, 2]]), (2, 1)).tolist()
    [[3, 3], [2, 2]]
    """
    shared = [dim for dim, length in enumerate(shape) if length != bits.shape[dim]]
    return bits.amax(shared, keepdim=True).expand(bits.shape) if shared else bits


def _weight_start(weight: Tensor, granularity: str, start: float) -> Tensor:
    if granularity == "element":
        return torch.full_like(weight, start)
    shape = (len(weight) if granularity == "channel" else 1, *[1] * (weight.ndim - 1))
    return weight.new_full(shape, start)


def granular_input(shape: tuple[int, ...], granularity: str) -> tuple[int, ...]:
    """The shape of the widths of an input whose sample has `shape`.

    Of vectors a channel and an element are a feature; of images a channel is `(channels, 1, 1)` and an element a pixel.

    >>> granular_input((3, 8, 8), "channel"), granular_input((16,), "element"), granular_input((16,), "tensor")
    ((3, 1, 1), (16,), (1,))
    """
    if granularity == "element" or (granularity == "channel" and len(shape) == 1):
        return shape
    return (shape[0] if granularity == "channel" else 1, *[1] * (len(shape) - 1))


def _add(parameter: nn.Parameter, gradient: Tensor, factor: float) -> None:
    own = gradient.sum_to_size(parameter.shape) if gradient.shape != parameter.shape else gradient
    if parameter.grad is None:
        parameter.grad = own * factor
    else:
        parameter.grad.add_(own, alpha=factor)
