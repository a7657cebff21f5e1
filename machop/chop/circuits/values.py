"""Integer codes of fixed-point values, and the exact range of each of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from chop.errors import CircuitError

Integers = NDArray[np.int64]

MOST_BITS = 60
"""Bits of the widest number that is computed here, in 64-bit integers."""

ALL_ZERO = 63
"""Zero bits at the end of the code 0."""


@dataclass(frozen=True)
class Values:
    """`codes` `(samples, *shape)` times 2^-frac."""

    codes: Integers
    frac: int

    def at(self, frac: int) -> Integers:
        """The codes of the same values in steps of 2^-frac, which are no coarser."""
        if frac == self.frac:
            return self.codes
        if bit_length(np.abs(self.codes).max(initial=0)) + frac - self.frac > MOST_BITS:
            raise CircuitError(f"fraction widths {self.frac} and {frac} lie too far apart: more than {MOST_BITS} bits")
        return self.codes << (frac - self.frac)

    def as_float(self) -> NDArray[np.float64]:
        """The values as float64."""
        return np.ldexp(self.codes.astype(np.float64), -self.frac)


@dataclass(frozen=True)
class Range:
    """The least and the greatest code of each element `(*shape)`, in steps of 2^-frac.

    The last `zeros` bits of an element are always 0.
    """

    low: Integers
    high: Integers
    frac: int
    zeros: Integers

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one sample."""
        return self.low.shape

    @property
    def is_constant(self) -> NDArray[np.bool_]:
        """The elements that have one value."""
        found: NDArray[np.bool_] = self.low == self.high
        return found

    @property
    def is_signed(self) -> NDArray[np.bool_]:
        """The elements that can be negative."""
        found: NDArray[np.bool_] = self.low < 0
        return found

    @property
    def bits(self) -> Integers:
        """Bits of each element, from the highest to the lowest that is not always 0, sign included; 0 of a constant."""
        reach = np.maximum(-self.low, self.high + 1) - 1
        above = np.maximum(bit_length(reach) - np.minimum(self.zeros, MOST_BITS), 0)
        return np.where(self.is_constant, 0, above + self.is_signed)

    @property
    def widest(self) -> int:
        """Bits of a word that holds each element in the common step: the width of an accumulator."""
        reach = np.maximum(-self.low, self.high + 1) - 1
        return int(bit_length(reach).max(initial=0) + self.is_signed.any())

    def ends(self) -> Values:
        """Two samples: the lower ends and the upper ends."""
        return Values(np.stack([self.low, self.high]), self.frac)


def bit_length(numbers: Integers) -> Integers:
    """Bits of whole numbers from 0, elementwise.

    >>> bit_length(np.array([0, 1, 4, 2**62 - 1])).tolist()
    [0, 1, 3, 62]
    """
    upper = numbers >> 31
    halves = np.where(upper > 0, upper, numbers).astype(np.float64)
    return np.frexp(halves)[1].astype(np.int64) + np.where(upper > 0, 31, 0)


def trailing_zeros(codes: Integers) -> Integers:
    """Zero bits at the end of each code.

    >>> trailing_zeros(np.array([0, 1, -4, 6])).tolist()
    [63, 0, 2, 1]
    """
    return np.where(codes == 0, ALL_ZERO, bit_length(codes & -codes) - 1)


def effective_bits(codes: Integers) -> Integers:
    """Bits of each constant's magnitude from its highest to its lowest non-zero bit; 0 of 0.

    >>> effective_bits(np.array([0, 1, -8, 5, 96])).tolist()
    [0, 1, 1, 3, 2]
    """
    return np.where(codes == 0, 0, bit_length(np.abs(codes)) - trailing_zeros(codes))


def exact_codes(values: NDArray[np.float64], most_bits: int = 31) -> Values:
    """Finite float values as codes in the coarsest step that holds all of them.

    Raises CircuitError where that takes more than `most_bits` bits.
    """
    mantissas, exponents = np.frexp(values)
    whole = np.rint(np.ldexp(mantissas, 53)).astype(np.int64)
    lowest = 53 - exponents - trailing_zeros(whole)
    frac = int(lowest[whole != 0].max()) if np.any(whole) else 0
    scaled = np.ldexp(values, frac)
    if np.abs(scaled).max(initial=0) >= 2.0**most_bits:
        raise CircuitError(
            f"constants from {np.abs(values[values != 0]).min():.3g} to {np.abs(values).max():.3g} need "
            f"more than {most_bits} bits as fixed point"
        )
    return Values(scaled.astype(np.int64), frac)
