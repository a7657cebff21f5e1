"""Block minifloat: small floating point whose exponent bias is shared by a block."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from chop.formats.base import FORMATS, Law, require_int
from chop.formats.blocks import BlockFormat, block_size_text, clamped_exponent
from chop.formats.rounding import exponent_below, mirrored, power_of_two, round_in_binades_

MAX_WIDTH = 16
MAX_EXPONENT_WIDTH = 5
MAX_BIAS_WIDTH = 8


@FORMATS.register("block_minifloat")
@dataclass(frozen=True, kw_only=True)
class BlockMinifloat(BlockFormat):
    """`minifloat_ieee` elements; each block's bias puts its rounded maximum into the top binade, so nothing saturates.

    Stored is the exponent of that binade, in `exponent_bias_width` bits of two's complement. Fox et al., ICLR 2021.

    >>> small = BlockMinifloat(width=6, exponent_width=2, exponent_bias_width=8, block_size=(4,))
    >>> small.quantize(torch.tensor([1.99, 0.3, -0.9, 0.01]))
    tensor([ 2.0000,  0.3125, -0.8750,  0.0000])
    """

    width: int
    exponent_width: int
    exponent_bias_width: int

    def __post_init__(self) -> None:
        super().__post_init__()
        require_int("width", self.width, 2, MAX_WIDTH)
        require_int("exponent_width", self.exponent_width, 1, min(MAX_EXPONENT_WIDTH, self.width - 1))
        require_int("exponent_bias_width", self.exponent_bias_width, 1, MAX_BIAS_WIDTH)

    @property
    def laws(self) -> frozenset[Law]:
        return frozenset({"idempotent", "monotone", "odd", "nearest"})

    def __str__(self) -> str:
        return (
            f"block_minifloat {self.width}e{self.exponent_width}b{self.exponent_bias_width} "
            f"{block_size_text(self.block_size)}"
        )

    @property
    def _element_bits(self) -> int:
        return self.width

    @property
    def _shared_bits(self) -> int:
        return self.exponent_bias_width

    @property
    def mantissa_width(self) -> int:
        """Bits of the mantissa field."""
        return self.width - self.exponent_width - 1

    def top_exponent(self, largest: Tensor) -> Tensor:
        """The exponent of each block's top binade, from its greatest magnitude; the bias is 2^E - 1 less that."""
        rounded = round_in_binades_(largest.double(), 0.0, self.mantissa_width)
        bound = 2 ** (self.exponent_bias_width - 1)
        return clamped_exponent(exponent_below(rounded).to(largest.dtype), -bound, bound - 1)

    @property
    def _lowest(self) -> float:
        """The least normal element, where the top binade begins at 1."""
        return math.ldexp(1.0, 2 - 2**self.exponent_width)

    def _round_blocks(self, blocks: Tensor, largest: Tensor) -> Tensor:
        scale, limit = power_of_two(self.top_exponent(largest)), 2.0 - 2.0**-self.mantissa_width
        elements = blocks.mul(1.0 / scale).clamp_(-limit, limit)
        return round_in_binades_(elements, self._lowest, self.mantissa_width).mul_(scale)

    def values(self, x: Tensor) -> Tensor | None:
        mantissas = torch.arange(2**self.mantissa_width, dtype=torch.float64) / 2**self.mantissa_width
        codes = torch.arange(2**self.exponent_width, dtype=torch.float64).unsqueeze(1)
        top = 2**self.exponent_width - 1
        normal = (1 + mantissas) * torch.exp2(codes - top)
        elements = torch.where(codes == 0, mantissas * self._lowest, normal).flatten()
        magnitudes = elements * 2.0 ** float(self.top_exponent(x.abs().amax()))
        return mirrored(magnitudes)
