"""Models layers that are folded onto few multipliers: the matrix-vector units of FINN, their LUTs, memories and cycles.

The formulas are those of FINN-R (Blott et al., arXiv:1809.04570) with the constants that FINN itself uses for its
estimates (`MVAU.lut_estimation`, `bram_estimation`, `get_exp_cycles`, and `SetFolding` for the folding; FINN 0.10).
Thresholds, sliding windows and FIFOs are not in them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from math import ceil, log2
from typing import Literal

RamStyle = Literal["block", "distributed"]

LUTS_FIXED = 300
LUTS_FACTOR = 1.1
"""The constants c0 and c1 that FINN-R fits to synthesised units."""

WORDS_OF_A_LUT = 64
WIDEST_SUM = 32
"""Bits of FINN's accumulators at the most."""

WIDEST_WEIGHT_STREAM = 36
"""Bits of weights that `SetFolding` feeds to a processing element in a cycle at the most."""

LARGEST_MEMORY = 512
"""Words of a RAMB18 that is 36 bits wide."""


@dataclass(frozen=True)
class MatrixVectorUnit:
    """A layer as a product of a constant matrix `(outputs, inputs)` with `vectors` vectors for each sample.

    `pe` outputs are computed at a time, from `simd` inputs at a time; both divide the matrix.
    """

    outputs: int
    inputs: int
    vectors: int
    weight_bits: int
    input_bits: int
    is_signed: bool = True
    pe: int = 1
    simd: int = 1

    @property
    def cycles(self) -> int:
        """Clock cycles of a sample."""
        return self.words * self.vectors

    @property
    def words(self) -> int:
        """Weights of each multiplier, which it reads one after the other."""
        return (self.outputs // self.pe) * (self.inputs // self.simd)

    @property
    def sum_bits(self) -> int:
        """Bits of an accumulator, by the bound of arXiv:2301.13376."""
        alpha = log2(self.inputs) + self.weight_bits + self.input_bits - 1 - int(self.is_signed)
        return min(WIDEST_SUM, ceil(alpha + log2(1 + 2**-alpha) + 1))

    def luts(self, ram_style: RamStyle) -> int:
        """LUTs of multipliers, adder tree and accumulators, and of weights in distributed memory."""
        bits = self.weight_bits + self.input_bits
        multipliers = self.simd * (2 * ceil(bits / 6) - 1) * bits
        adders = bits * (2 * self.simd - 1)
        memory = self.pe * self.simd * self.weight_bits * ceil(self.words / WORDS_OF_A_LUT)
        logic = LUTS_FACTOR * (self.pe * (multipliers + adders + self.sum_bits))
        return int(LUTS_FIXED + logic + (memory if ram_style == "distributed" else 0))

    def memories(self, ram_style: RamStyle) -> int:
        """Block memories of 18 kbit (RAMB18) that hold the weights."""
        if ram_style == "distributed":
            return 0
        width = self.pe * self.simd * self.weight_bits
        for bits, words in ((1, 16384), (2, 8192), (4, 4096), (9, 2048), (18, 1024)):
            if width <= bits or (bits == 18 and self.words > LARGEST_MEMORY):
                return ceil(self.words / words) * ceil(width / bits)
        return ceil(self.words / LARGEST_MEMORY) * ceil(width / 36)

    def folded(self, pe: int, simd: int, target_cycles: int) -> MatrixVectorUnit:
        """The unit with this folding; where `pe` or `simd` is 0, it follows from `target_cycles` as in `SetFolding`.

        That takes fewer cycles than `target_cycles` for a sample if it can: first by inputs at a time, as long as the
        weights of a processing element are no wider than 36 bits, then by outputs at a time. A given number is lowered
        to the next divisor of the matrix.
        """
        unit = replace(self, pe=_divisor(self.outputs, pe or 1), simd=_divisor(self.inputs, simd or 1))
        if not simd:
            unit = unit._with_inputs(target_cycles)
        if pe:
            return unit
        wider = (replace(unit, pe=own) for own in _divisors(self.outputs))
        return next((own for own in wider if own.cycles < target_cycles), replace(unit, pe=self.outputs))

    def _with_inputs(self, target_cycles: int) -> MatrixVectorUnit:
        chosen = self
        for own in _divisors(self.inputs):
            wider = replace(self, simd=own)
            if wider.cycles < target_cycles:
                return wider
            if wider.weight_bits * own > WIDEST_WEIGHT_STREAM:
                return chosen
            chosen = wider
        return chosen


def _divisors(number: int) -> Iterator[int]:
    return (own for own in range(1, number + 1) if number % own == 0)


def _divisor(number: int, most: int) -> int:
    return max(own for own in _divisors(number) if own <= most)
