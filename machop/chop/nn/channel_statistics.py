"""Mean and variance of channels, the same to the bit in whatever order and layout their values lie."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.linalg import vector_norm

from chop.formats.rounding import MANTISSA_BITS

EXACT_BITS = 52
"""Bits of a sum in float64 that are never rounded, and one to spare."""
AT_A_TIME = 2**17
"""Values that are added up together: few enough for a cache, many enough that calls are worth their start."""
MOST_BITS = 22
"""Bits of a value beside its sign: float32 must keep some when a multiple of the range is added."""


@torch.no_grad()
def statistics_of_last(x: Tensor) -> Tensor:
    """Mean and variance of the last dimension of `x` `(*shape, values)`: `(2, *shape)`, in the type of `x`.

    The variance is that by which batch norm divides in training: the mean square of the differences from the mean.
    Values are rounded to steps of at most 2^-20 of their range (2^-17 for 65,536 values). Sums of multiples of a step,
    and of their squares, are exact in float64, so that no order makes a difference; sums of float32 are others in each
    layout.

    >>> statistics_of_last(torch.tensor([[1.0, 3.0], [2.0, 2.0]]))
    tensor([[2., 2.],
            [1., 0.]])
    """
    if x.dtype not in MANTISSA_BITS:
        return statistics_of_last(x.float()).to(x.dtype)
    count = x.shape[-1]
    rows = x.reshape(-1, count)
    low, high = rows.amin(-1, keepdim=True), rows.amax(-1, keepdim=True)  # aminmax takes ten times as long
    bits = min(MOST_BITS, (EXACT_BITS - max(count - 1, 1).bit_length()) // 2)
    # A multiple of the range leaves no room for less than a step where it is added; the middle of the range goes along.
    anchor = (high - low).mul_(2.0 ** (MANTISSA_BITS[x.dtype] - bits) + 0.5)
    added = torch.sub(anchor, low + high, alpha=0.5)
    mean, norm = _sums(rows, added, anchor)
    mean.div_(count)
    variance = norm.square_().div_(count).sub_(mean.square()).clamp_(min=0.0)
    mean.add_(anchor.double().sub_(added))
    return torch.stack([mean, variance]).to(x.dtype).view(2, *x.shape[:-1])


def _sums(x: Tensor, added: Tensor, anchor: Tensor) -> tuple[Tensor, Tensor]:
    """For each row of `x + added - anchor` the sum, and the root of the sum of squares: `(rows, 1)`, float64.

    Some rows at a time, always in the same memory: what is read again is still in the cache.
    """
    at_once = max(1, min(len(x), AT_A_TIME // x.shape[1]))
    narrow = x.new_empty(at_once, x.shape[1])
    wide = narrow.new_empty(narrow.shape, dtype=torch.float64)
    total, norm = wide.new_empty(len(x), 1), wide.new_empty(len(x), 1)
    for tensors in zip(*(torch.split(part, at_once) for part in (x, added, anchor, total, norm)), strict=True):
        own, more, less, own_total, own_norm = tensors
        if len(own) < at_once:
            narrow, wide = narrow[: len(own)], wide[: len(own)]
        wide.copy_(torch.add(own, more, out=narrow).sub_(less))
        torch.sum(wide, -1, keepdim=True, out=own_total)
        vector_norm(wide, dim=-1, keepdim=True, out=own_norm)
    return total, norm


def channel_statistics(x: Tensor, dim: int = 1) -> Tensor:
    """Mean and variance of each channel of `x`, which lie along `dim`: `(2, channels)`."""
    return statistics_of_last(x.movedim(dim, 0).flatten(1))
