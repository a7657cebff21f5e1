"""OCP Microscaling floating point: minifloats with one power-of-two scale a block."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from chop.formats.base import FORMATS, Law, require_int
from chop.formats.blocks import BlockFormat, block_size_text, clamped_exponent
from chop.formats.rounding import exponent_below, mirrored, power_of_two, round_in_binades_

MAX_FRACTION_BITS = 10
MAX_EXPONENT_BITS = 5
MAX_SCALE_BITS = 8
LARGEST: Mapping[tuple[int, int], float] = {(4, 3): 448.0, (5, 2): 57344.0}
"""The two element types that give codes away: E4M3 one for NaN, E5M2 its last binade for infinity and NaN."""


@FORMATS.register("mxfp")
@dataclass(frozen=True, kw_only=True)
class MXFP(BlockFormat):
    """Minifloat elements (E4M3, E5M2, E3M2, E2M3, E2M1 and others) times a scale 2^(floor(log2 max) - top exponent).

    The scale has `scale_exp_bits` bits (E8M0: exponents -127 … 127; in float32 from -126). Half to even with a carry,
    saturating, subnormal elements kept. OCP Microscaling Formats v1.0, sections 5.3 and 6.3.

    >>> fp4 = MXFP(element_exp_bits=2, element_frac_bits=1, block_size=(4,))
    >>> fp4.quantize(torch.tensor([7.9, 1.2, 0.3, -2.6]))
    tensor([ 6.0000,  1.0000,  0.5000, -3.0000])
    """

    element_exp_bits: int
    element_frac_bits: int
    scale_exp_bits: int = 8

    def __post_init__(self) -> None:
        super().__post_init__()
        require_int("element_exp_bits", self.element_exp_bits, 1, MAX_EXPONENT_BITS)
        require_int("element_frac_bits", self.element_frac_bits, 0, MAX_FRACTION_BITS)
        require_int("scale_exp_bits", self.scale_exp_bits, 1, MAX_SCALE_BITS)

    @property
    def laws(self) -> frozenset[Law]:
        return frozenset({"idempotent", "monotone", "odd", "nearest"})

    def __str__(self) -> str:
        return f"mxfp e{self.element_exp_bits}m{self.element_frac_bits} {block_size_text(self.block_size)}"

    @property
    def _element_bits(self) -> int:
        return 1 + self.element_exp_bits + self.element_frac_bits

    @property
    def _shared_bits(self) -> int:
        return self.scale_exp_bits

    @property
    def _bias(self) -> int:
        return (1 << self.element_exp_bits - 1) - 1

    @property
    def largest_element(self) -> float:
        """The greatest value of an element."""
        kind = (self.element_exp_bits, self.element_frac_bits)
        top = 2**self.element_exp_bits - 1 - self._bias
        return LARGEST.get(kind, 2.0**top * (2.0 - 2.0**-self.element_frac_bits))

    @property
    def _top_exponent(self) -> int:
        """Exponent of the greatest power of two that an element can be."""
        return int(torch.tensor(self.largest_element).log2().floor())

    def _scale(self, largest: Tensor) -> Tensor:
        bound = 2 ** (self.scale_exp_bits - 1) - 1
        return power_of_two(clamped_exponent(exponent_below(largest) - self._top_exponent, -bound, bound))

    def _round_blocks(self, blocks: Tensor, largest: Tensor) -> Tensor:
        scale, limit = self._scale(largest), self.largest_element
        elements = blocks.mul(1.0 / scale).clamp_(-limit, limit)
        return round_in_binades_(elements, 2.0 ** (1 - self._bias), self.element_frac_bits).mul_(scale)

    def elements(self) -> Tensor:
        """All values of an element that are not negative, ascending, float64."""
        fractions = torch.arange(2**self.element_frac_bits, dtype=torch.float64) / 2**self.element_frac_bits
        codes = torch.arange(2**self.element_exp_bits, dtype=torch.float64).unsqueeze(1)
        normal = (1 + fractions) * torch.exp2(codes - self._bias)
        found = torch.where(codes == 0, fractions * 2.0 ** (1 - self._bias), normal).flatten()
        return found[found <= self.largest_element]

    def values(self, x: Tensor) -> Tensor | None:
        magnitudes = self.elements() * float(self._scale(x.abs().amax()))
        return mirrored(magnitudes)
