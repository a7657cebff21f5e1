"""Models the energy of a node in picojoules: multiplications, additions and memory traffic in a 45 nm process.

The figures are those of Horowitz, "Computing's energy problem (and what we can do about it)", ISSCC 2014, for 45 nm and
0.9 V; shifts are those of You et al. (arXiv:2306.06446, table 1), for the same process. Other widths are interpolated:
adders and shifters by their width, multipliers by the product of the widths of their factors.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from math import ceil, log2
from typing import Literal

from chop.formats import FLOAT_BITS, Format
from chop.formats.base import Arithmetic
from chop.ir.graph.node_costs import NodeCost
from chop.passes.graph.analysis.costs import bits_of, factors, learned_products, macs
from chop.weight_transforms import format_of

INTEGER_ADD = {8: 0.03, 32: 0.1}
INTEGER_MULTIPLY = {8 * 8: 0.2, 32 * 32: 3.1}
FLOAT_ADD = {16: 0.4, 32: 0.9}
FLOAT_MULTIPLY = {16 * 16: 1.1, 32 * 32: 3.7}
SHIFT = {8: 0.024, 16: 0.057, 32: 0.13}

Memory = Literal["none", "sram_8k", "sram_32k", "sram_1m", "dram"]
ACCESS: Mapping[Memory, float] = {"none": 0.0, "sram_8k": 10.0, "sram_32k": 20.0, "sram_1m": 100.0, "dram": 1300.0}
"""Picojoules of an access of `ACCESS_BITS` to a cache of that size, or to DRAM (1.3 to 2.6 nJ: the lower end)."""

ACCESS_BITS = 64

LEAST_FLOAT_SUM = 16
"""Bits of the narrowest floating-point accumulator."""

WIDEST_SHIFTED_SUM = 32
"""Bits of the widest accumulator of shifted values, whose exact sums may take hundreds."""


@dataclass(frozen=True)
class Factor:
    """One factor of a multiplier: its kind, its bits, and how many values share a scale (0: all)."""

    arithmetic: Arithmetic = "float"
    bits: float = FLOAT_BITS
    block: int = 0

    @property
    def span(self) -> float:
        """Bits that the factor adds to the width of an exact sum: its own, or the places that it shifts by."""
        return 2.0 ** (self.bits - 1) - 1 if self.arithmetic == "power_of_two" else self.bits


def compute_energy(cost: NodeCost, formats: Mapping[str, Format]) -> float:
    """Picojoules of a node's multiply-accumulates for one sample, products with pruned weights left out."""
    products = macs(cost, formats)
    if not products:
        return 0.0
    first, second = (factor_of(cost, operand, formats) for operand in factors(cost))
    learned = learned_products(cost, formats)
    area = first.bits * second.bits if learned is None else learned / cost.macs
    length = max(1.0, cost.macs / max(1, sum(tensor.elements for tensor in cost.of("data_out"))))
    blocks = [min(own.block, length) for own in (first, second) if own.block]
    scaled = interpolated(FLOAT_ADD, FLOAT_BITS) / min(blocks) if blocks else 0.0
    return products * (multiply_energy(first, second, area) + add_energy(first, second, length) + scaled)


def memory_energy(cost: NodeCost, formats: Mapping[str, Format], weights: Memory, activations: Memory) -> float:
    """Picojoules of reading a node's weights, and of writing and reading what it multiplies them with, for one sample.

    Of pruned weights those that are kept are read, and their index. A result counts where it is read, in the format in
    which it is read there; what is not multiplied passes through without memory.
    """
    read = [tensor for tensor in cost.tensors if tensor.is_factor]
    weight_bits = sum(bits_of(tensor, formats) for tensor in read if tensor.is_parameter)
    activation_bits = 2 * sum(bits_of(tensor, formats) for tensor in read if not tensor.is_parameter)
    return (weight_bits * ACCESS[weights] + activation_bits * ACCESS[activations]) / ACCESS_BITS


def factor_of(cost: NodeCost, operand: str, formats: Mapping[str, Format]) -> Factor:
    """The factor that an operand is to a multiplier; FP32 if it has no format."""
    chosen = format_of(formats.get(operand))
    tensors = cost.of(operand)
    elements = sum(tensor.elements for tensor in tensors)
    if chosen is None or chosen.is_float or not elements:
        return Factor()
    bits = sum(chosen.bits(tensor.shape) - chosen.shared_bits(tensor.shape) for tensor in tensors) / elements
    return Factor(chosen.arithmetic, bits, chosen.block_elements(tensors[0].shape))


def multiply_energy(first: Factor, second: Factor, area: float) -> float:
    """Picojoules of a product; `area` is the product of both widths.

    - Whole numbers: an integer multiplier. Floating point with anything else but powers of two: one of floating point.
    - A power of two shifts a whole number, and is added to the exponent of any other factor.
    """
    kinds = {first.arithmetic, second.arithmetic}
    if "power_of_two" not in kinds:
        return interpolated(FLOAT_MULTIPLY if "float" in kinds else INTEGER_MULTIPLY, area)
    if "integer" in kinds:
        return interpolated(SHIFT, next(own.bits for own in (first, second) if own.arithmetic == "integer"))
    return interpolated(INTEGER_ADD, max(own.bits for own in (first, second) if own.arithmetic == "power_of_two"))


def add_energy(first: Factor, second: Factor, length: float) -> float:
    """Picojoules of the addition of a product to a sum of `length` products.

    A sum of whole numbers has the width of an exact one, at most `WIDEST_SHIFTED_SUM` where a factor shifts. One of
    floating point has the width of its wider factor, at least `LEAST_FLOAT_SUM`.
    """
    kinds = {first.arithmetic, second.arithmetic}
    if "float" in kinds:
        floats = [own.bits for own in (first, second) if own.arithmetic == "float"]
        return interpolated(FLOAT_ADD, max(LEAST_FLOAT_SUM, *floats))
    width = first.span + second.span + ceil(log2(length))
    return interpolated(INTEGER_ADD, min(width, WIDEST_SHIFTED_SUM) if "power_of_two" in kinds else width)


def interpolated(points: Mapping[int, float], at: float) -> float:
    """Linear between the origin and the points, and beyond the last one on the last line.

    >>> [round(interpolated(INTEGER_MULTIPLY, bits * bits), 3) for bits in (4, 8, 16, 32)]
    [0.05, 0.2, 0.78, 3.1]
    """
    known = [(0.0, 0.0), *points.items()]
    (low, first), (high, last) = next((ends for ends in pairwise(known) if at <= ends[1][0]), known[-2:])
    return first + (last - first) * (at - low) / (high - low)
