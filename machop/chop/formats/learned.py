"""Fixed point with a width and a fraction width of its own for each value, as a training finds them."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from chop.errors import FormatError
from chop.formats.measured_tensor import MeasuredTensor

LEARNED = "learned"
LearnedGranularity = Literal["tensor", "channel", "element"]
LEARNED_GRANULARITIES: tuple[LearnedGranularity, ...] = get_args(LearnedGranularity)
"""One width for a tensor, for each output channel of weights (channel of an activation), or for each value."""

WIDEST = 24
"""The widest learned width: float32 holds whole numbers so far."""


def require_learned(
    fractions: MeasuredTensor, widths: MeasuredTensor | None, width: int, largest_fraction: int
) -> None:
    """Raise FormatError unless the tensors are whole, of one shape, and in range."""
    if not isinstance(widths, MeasuredTensor):
        raise FormatError("learned fraction widths need a learned width for each value (element_width)")
    if fractions.values.shape != widths.values.shape:
        shapes = tuple(fractions.values.shape), tuple(widths.values.shape)
        raise FormatError(f"learned widths must have the shape of their fraction widths {shapes[0]}, got {shapes[1]}")
    limits = {"fraction widths": (fractions, -largest_fraction, largest_fraction)}
    limits["widths"] = (widths, 0, min(width, WIDEST))
    for name, (own, low, high) in limits.items():
        if own.values.dtype != torch.int8 or not own.values.numel():
            raise FormatError(f"learned {name} must be a tensor of int8 with a value or more, got {own!r}")
        least, most = int(own.values.min()), int(own.values.max())
        if least < low or most > high:
            raise FormatError(f"learned {name} must lie between {low} and {high}, got {least} to {most}")


def on_elements(learned: MeasuredTensor, x: Tensor) -> Tensor:
    """The numbers as floats that broadcast to `x`; raises FormatError where they do not."""
    own = learned.on(x)
    dims = own.ndim
    fits = dims <= x.ndim and all(
        length in (1, there) for length, there in zip(own.shape, x.shape[x.ndim - dims :], strict=True)
    )
    if not fits:
        raise FormatError(
            f"widths were learned for values {tuple(own.shape)}, but the tensor has shape {tuple(x.shape)}; train anew"
        )
    return own.to(x.dtype)


def code_bounds(widths: Tensor, is_signed: bool) -> tuple[Tensor, Tensor]:
    """The least and the greatest code of each width, two's complement or unsigned; 0 and 0 for no bits.

    >>> [bound.tolist() for bound in code_bounds(torch.tensor([0.0, 1.0, 3.0]), True)]
    [[0.0, -1.0, -4.0], [0.0, 0.0, 3.0]]
    """
    if not is_signed:
        return torch.zeros_like(widths), widths.exp2() - 1
    half = torch.where(widths > 0, (widths - 1).exp2(), torch.zeros_like(widths))
    return 0.0 - half, (half - 1).clamp(min=0)


def learned_bits(widths: MeasuredTensor, shape: Sequence[int]) -> int:
    """Bits of a tensor of `shape`, whose values share the learned widths equally."""
    own = widths.values
    total = int(own.to(torch.int64).sum()) * prod(shape)
    return -(-total // own.numel())


def element_widths(chosen: Any) -> Tensor | None:
    """The learned widths that a format holds, None for any other format."""
    own = getattr(chosen, "element_width", None)
    return own.values if isinstance(own, MeasuredTensor) else None
