"""Mean and variance of channels, the same to the bit in whatever order and layout their values lie."""

from __future__ import annotations

import torch
from torch import Tensor

from chop.formats.rounding import MANTISSA_BITS, power_below

EXACT_BITS = 52
"""Bits of a sum in float64 that are never rounded, and one to spare."""
AT_A_TIME = 2**16
"""Values that are added up together: in float64 they fit the cache of a core."""
MOST_BITS = 22
"""Bits of a value beside its sign: as many as float32 can round to by adding and subtracting a constant."""


def statistics_of_last(x: Tensor) -> Tensor:
    """Mean and variance of the last dimension of `x` `(*shape, values)`: `(*shape, 2)`, in the type of `x`.

    The variance is that by which batch norm divides in training: the mean square of the differences from the mean.
    Values are rounded to steps of 2^-22 of their range (2^-18 for 65,536 values). Sums of multiples of a step, and of
    their squares, are exact in float64, so that no order makes a difference; sums of float32 are others in each layout.

    >>> statistics_of_last(torch.tensor([[1.0, 3.0], [2.0, 2.0]]))
    tensor([[2., 1.],
            [2., 0.]])
    """
    if x.dtype not in MANTISSA_BITS:
        return statistics_of_last(x.float()).to(x.dtype)
    count = x.shape[-1]
    low, high = x.amin(-1, keepdim=True).double(), x.amax(-1, keepdim=True).double()  # 20 times as fast as aminmax
    bits = min(MOST_BITS, (EXACT_BITS - max(count - 1, 1).bit_length()) // 2)
    # Adding 1.5 · 2^mantissa steps leaves no room for less than a step; the middle of the range goes along.
    anchor = power_below((high - low) / 2) * (3.0 * 2.0 ** (MANTISSA_BITS[x.dtype] - bits))
    added = (anchor - (low + high) / 2).to(x.dtype)
    mean, squares = _sums(x, added, anchor.to(x.dtype))
    mean.div_(count)
    variance = squares.div_(count).sub_(mean.square()).clamp_(min=0.0)
    return torch.cat([anchor - added.double() + mean, variance], -1).to(x.dtype)


def _sums(x: Tensor, added: Tensor, anchor: Tensor) -> tuple[Tensor, Tensor]:
    """The sums of `x + added - anchor` along the last dimension, and those of the squares: `(*shape, 1)`, float64.

    Some channels at a time: their values in float64 take twice the memory of `x`, and are read three times.
    """
    count = x.shape[-1]
    if x.numel() <= max(AT_A_TIME, count):
        steps = (x + added).sub_(anchor).double()
        return steps.sum(-1, keepdim=True), steps.square_().sum(-1, keepdim=True)
    parts = (torch.split(own.flatten(0, -2), max(1, AT_A_TIME // count)) for own in (x, added, anchor))
    found = zip(*(_sums(*part) for part in zip(*parts, strict=True)), strict=True)
    total, squares = (torch.cat(sums).view(added.shape) for sums in found)
    return total, squares


def channel_statistics(x: Tensor, dim: int = 1) -> Tensor:
    """Mean and variance of each channel of `x`, which lie along `dim`: `(channels, 2)`."""
    return statistics_of_last(x.movedim(dim, 0).flatten(1))
