"""What the codes of a linear layer cost: effective bit operations, or an estimate of the LUTs of its circuit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from chop.training.output_shifts import bits_between, shifted

Floats = NDArray[np.float32]


class InputCosts(NamedTuple):
    """The costs of the weights that read each input of a layer: those of each bit of the input, and fixed ones."""

    by_bit: Floats
    fixed: Floats

    def total(self, bits: Floats) -> float:
        """The cost where inputs have so many bits."""
        return float(bits @ self.by_bit + self.fixed.sum())

    def with_input(self, column: int, new: InputCosts) -> InputCosts:
        """These costs, with those of one input in the place of what they were."""
        by_bit, fixed = self.by_bit.copy(), self.fixed.copy()
        by_bit[column], fixed[column] = new.by_bit[0], new.fixed[0]
        return InputCosts(by_bit, fixed)


@dataclass(frozen=True)
class CodeCosts:
    """The cost of weights: `product` times the EBOPs, and `digit` for each digit of a weight.

    EBOPs are the bits of each input times those of each weight that reads it, from its highest to its lowest one that
    is set. Digits are the fewest powers of two that a weight is a sum or a difference of: each takes an adder.
    """

    product: float = 1.0
    digit: float = 0.0

    def of(self, weight: Floats) -> InputCosts:
        """The costs of weights `(outputs, inputs)` by input."""
        by_bit = bits_between(weight).sum(axis=0) * np.float32(self.product)
        fixed = digits(weight).sum(axis=0) * np.float32(self.digit) if self.digit else np.zeros_like(by_bit)
        return InputCosts(by_bit, fixed)

    def fixed_by_bit(self, values: Floats, bits: Floats) -> Floats:
        """The fixed costs of weights of so many bits, shared out among their bits."""
        if not self.digit:
            return np.zeros_like(bits)
        shared: Floats = (digits(values) * self.digit / np.maximum(bits, 1)).astype(np.float32)
        return shared

    def cheapest_shift(self, weights: Floats, bits: np.float32) -> np.float32:
        """The number that leaves the least cost when it is taken from all weights of an input of so many bits.

        Tried are those that make one weight zero or a power of two.

        >>> float(EBOPS.cheapest_shift(np.array([0.5, 0.5, -0.75, 0.5], np.float32), np.float32(4)))
        0.5
        """
        shifts, left = shifted(weights)
        costs = self.of(left.T)
        return np.float32(shifts[int((costs.by_bit * bits + costs.fixed).argmin())])


def digits(values: Floats) -> Floats:
    """For each number how many powers of two it is the sum or the difference of, at least: its non-adjacent form.

    >>> digits(np.array([0.0, 0.5, -0.75, 7.0, 5.0, 11.0], np.float32)).tolist()
    [0.0, 1.0, 2.0, 2.0, 2.0, 3.0]
    """
    codes = np.abs(np.ldexp(np.frexp(values.astype(np.float64))[0], 30)).astype(np.int64)
    found: Floats = np.bitwise_count(codes ^ (3 * codes)).astype(np.float32)
    return found


EBOPS = CodeCosts()
"""Effective bit operations (arXiv:2405.00645)."""

LUTS = CodeCosts(product=0.165, digit=2.98)
"""An estimate of 6-input LUTs: 4 % error (one standard deviation) over 21 networks of 280 to 8,200 LUTs."""

DescentCost = Literal["ebops", "luts"]

DESCENT_COSTS: Mapping[DescentCost, CodeCosts] = {"ebops": EBOPS, "luts": LUTS}
