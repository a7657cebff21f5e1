"""Exact rounding of floating-point tensors by their bits: no log2, no frexp, few passes over memory."""

from __future__ import annotations

import math

import torch
from torch import Tensor

_INTEGER = {torch.float32: torch.int32, torch.float64: torch.int64}
_EXPONENT_MASK = {torch.float32: 0x7F800000, torch.float64: 0x7FF0000000000000}
MANTISSA_BITS = {torch.float32: 23, torch.float64: 52}
_ABOVE_SQRT2 = {torch.float32: 0x3504F4, torch.float64: 0x6A09E667F3BCD}
"""Mantissa of the least number of the type above the square root of 2."""

LOWEST_EXPONENT, HIGHEST_EXPONENT = -126, 127
"""Exponents of float32's normal numbers, in which everything is simulated."""


def power_below(x: Tensor) -> Tensor:
    """The greatest power of two that is no greater than |x|, elementwise; 0 for 0 and for subnormal numbers.

    >>> power_below(torch.tensor([3.0, -0.75, 4.0, 0.0]))
    tensor([2.0000, 0.5000, 4.0000, 0.0000])
    """
    return x.view(_INTEGER[x.dtype]).bitwise_and(_EXPONENT_MASK[x.dtype]).view(x.dtype)


def nearest_power_(x: Tensor) -> Tensor:
    """In place the power of two nearest to |x| by logarithm (no ties: no number is 2^(n + 1/2)); 0 for 0.

    >>> nearest_power_(torch.tensor([3.0, 2.8, -0.75, 0.0]))
    tensor([4., 2., 1., 0.])
    """
    carry = (1 << MANTISSA_BITS[x.dtype]) - _ABOVE_SQRT2[x.dtype]
    bits = x.view(_INTEGER[x.dtype]).add_(carry)
    return bits.bitwise_and_(_EXPONENT_MASK[x.dtype]).view(x.dtype)


def round_in_binades_(x: Tensor, lowest: float, mantissa_bits: int) -> Tensor:
    """Round `x` in place, half to even, to `mantissa_bits` bits after the leading one; carries into the next binade.

    Numbers below the power of two `lowest` have the step of its binade. Adding and subtracting a number that is so
    great that its last bit is the step lets the processor's own rounding do it.
    """
    magic = power_below(x).clamp_(min=lowest).mul_(1.5 * 2.0 ** (MANTISSA_BITS[x.dtype] - mantissa_bits))
    return x.add_(magic).sub_(magic)


def fits_float32(lowest: float, highest: float, mantissa_bits: int) -> bool:
    """Whether `round_in_binades_` is exact in float32 for binades from `lowest` to `highest`; else take float64."""
    headroom = HIGHEST_EXPONENT - 1 - (23 - mantissa_bits)
    return lowest >= 2.0**LOWEST_EXPONENT and highest <= 2.0**headroom and mantissa_bits <= 21


def exponent_below(x: Tensor) -> Tensor:
    """floor(log2 |x|), elementwise and exact, as floats; very low for 0.

    >>> exponent_below(torch.tensor([1.0, 7.9, 0.25]))
    tensor([ 0.,  2., -2.])
    """
    mantissa, exponent = torch.frexp(x)
    return torch.where(mantissa == 0, -math.inf, exponent.to(x.dtype) - 1)


def exponent_nearest(x: Tensor) -> Tensor:
    """log2 x rounded to the nearest integer, elementwise and exact, as floats; at most 127, very low for 0."""
    return exponent_below(nearest_power_(x.clamp(0.0, 2.0**HIGHEST_EXPONENT)))


def mirrored(magnitudes: Tensor) -> Tensor:
    """The magnitudes with both signs, sorted, each once."""
    both = torch.cat([-magnitudes.flip(0), magnitudes])
    return torch.unique(both)  # type: ignore[no-any-return]


def power_of_two(exponent: Tensor) -> Tensor:
    """2^exponent, exact also for float32's subnormal results; `exponent` holds whole numbers."""
    return torch.exp2(exponent.double()).to(exponent.dtype)
