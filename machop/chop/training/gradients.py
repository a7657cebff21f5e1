"""Gradients: of rounding, straight through where the value is not cut off; and of several plans, balanced."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from chop.formats import Format
from chop.formats.integer import FixedPoint
from chop.formats.measured import spread
from chop.ir import QuantPlan
from chop.nn.ops import STATISTICS
from chop.weight_transforms import Chain


@dataclass(frozen=True)
class Surrogate:
    """A format in a training: it rounds as `chosen` does, to the bit, and has gradients of its own.

    Gradients pass unchanged (Bengio et al., arXiv:1308.3432); none passes where fixed point cuts off a value (Hubara et
    al., arXiv:1609.07061). They reach weights that a transform drops (Sparsity, say) as if these were there, so that
    a weight can come back.
    """

    chosen: Format

    def quantize(self, x: Tensor) -> Tensor:
        """`x` rounded, same shape and type."""
        if not (x.requires_grad and torch.is_grad_enabled()):
            return self.chosen.quantize(x)
        result: Tensor = _Rounded.apply(x, self.chosen)  # type: ignore[no-untyped-call]
        return result


class _Rounded(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, chosen: Format) -> Tensor:
        rounded = chosen.quantize(x)
        last = chosen.then if isinstance(chosen, Chain) else chosen
        ctx.cuts = isinstance(last, FixedPoint)
        if isinstance(last, FixedPoint):
            ctx.save_for_backward(_within(x, last))
        return rounded

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        return gradients[0] * ctx.saved_tensors[0] if ctx.cuts else gradients[0], None


def _within(x: Tensor, chosen: FixedPoint) -> Tensor:
    """Where `x` is no more than half a step beyond the range of a fixed-point format."""
    scale = spread([2.0**fraction for fraction in chosen.fractions], x, chosen.channel_axis, chosen.channel_groups)
    low, high = chosen.code_range
    return x.ge((low - 0.5) / scale).logical_and_(x.le((high + 0.5) / scale))


def formats_of(plan: QuantPlan) -> dict[str, dict[str, Format]]:
    """The formats of a plan by node and operand, without statistics of batch norms, which a training takes itself."""
    return {
        node: {operand: chosen for operand, chosen in formats if operand != STATISTICS}
        for node, formats in plan.choices
    }


def surrogates(plan: QuantPlan) -> Mapping[str, Mapping[str, Any]]:
    """The same formats, everything measured, with gradients for training."""
    return {
        node: {operand: Surrogate(chosen) for operand, chosen in formats.items()}
        for node, formats in formats_of(plan).items()
    }


LEAST_NORM = 1e-30
"""A norm of gradients below which they count as zero."""


def add_gradients(loss: Tensor, parameters: Sequence[nn.Parameter], weight: float, balanced: bool) -> None:
    """Add `weight` times the gradients of a loss to those of the parameters.

    If they are `balanced`, those of each parameter are divided by the square root of their norm before, so that plans
    of few bits, whose gradients are the largest, leave room to the others.
    """
    found: Sequence[Tensor | None] = torch.autograd.grad(loss, parameters, allow_unused=True)
    for parameter, own in zip(parameters, found, strict=True):
        if own is None:
            continue
        scaled = own * (weight * own.norm().clamp(min=LEAST_NORM).rsqrt()) if balanced else own * weight
        parameter.grad = scaled if parameter.grad is None else parameter.grad.add_(scaled)
