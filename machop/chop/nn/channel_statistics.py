"""Mean and variance of channels, the same to the bit in whatever order and layout their values lie."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.linalg import vector_norm

from chop.formats.rounding import MANTISSA_BITS, power_below

EXACT_BITS = 52
"""Bits of a sum in float64 that are never rounded, and one to spare."""
AT_A_TIME = 2**16
"""Values that are added up together: in float64 they fit the cache of a core."""
MOST_BITS = 22
"""Bits of a value beside its sign: as many as float32 can round to by adding and subtracting a constant."""


def statistics_of_last(x: Tensor) -> Tensor:
    """Mean and variance of the last dimension of `x` `(*shape, values)`: `(2, *shape)`, in the type of `x`.

    The variance is that by which batch norm divides in training: the mean square of the differences from the mean.
    Values are rounded to steps of 2^-22 of their range (2^-18 for 65,536 values). Sums of multiples of a step, and of
    their squares, are exact in float64, so that no order makes a difference; sums of float32 are others in each layout.

    >>> statistics_of_last(torch.tensor([[1.0, 3.0], [2.0, 2.0]]))
    tensor([[2., 2.],
            [1., 0.]])
    """
    if x.dtype not in MANTISSA_BITS:
        return statistics_of_last(x.float()).to(x.dtype)
    count = x.shape[-1]
    rows = x.reshape(-1, count)
    low, high = (
        rows.amin(-1, keepdim=True).double(),
        rows.amax(-1, keepdim=True).double(),
    )  # 20 times as fast as aminmax
    bits = min(MOST_BITS, (EXACT_BITS - max(count - 1, 1).bit_length()) // 2)
    # Adding 1.5 · 2^mantissa steps leaves no room for less than a step; the middle of the range goes along.
    anchor = power_below(high - low).mul_(1.5 * 2.0 ** (MANTISSA_BITS[x.dtype] - bits))
    added = (anchor - low.add_(high).mul_(0.5)).to(x.dtype)
    mean, norm = _sums(rows, added, anchor.to(x.dtype))
    mean.div_(count)
    variance = norm.square_().div_(count).sub_(mean.square()).clamp_(min=0.0)
    mean.add_(anchor.sub_(added).squeeze(-1))
    return torch.stack([mean, variance]).to(x.dtype).view(2, *x.shape[:-1])


def _sums(x: Tensor, added: Tensor, anchor: Tensor) -> tuple[Tensor, Tensor]:
    """For each row of `x + added - anchor` the sum, and the root of the sum of squares: `(rows,)`, float64.

    Some rows at a time: in float64 they take twice the memory of `x`, and are read twice.
    """
    at_once = max(1, AT_A_TIME // x.shape[1])
    steps = zip(*(torch.split(own, at_once) for own in (x, added, anchor)), strict=True)
    found = [(wide.sum(-1), vector_norm(wide, dim=-1)) for wide in ((a + b).sub_(c).double() for a, b, c in steps)]
    total, norm = (torch.cat(parts) for parts in zip(*found, strict=True))
    return total, norm


def channel_statistics(x: Tensor, dim: int = 1) -> Tensor:
    """Mean and variance of each channel of `x`, which lie along `dim`: `(2, channels)`."""
    return statistics_of_last(x.movedim(dim, 0).flatten(1))
