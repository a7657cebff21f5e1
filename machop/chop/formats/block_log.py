"""Block logarithmic numbers: powers of two whose exponent bias is shared by a block."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from chop.formats.base import FORMATS, Arithmetic, Law, require_int
from chop.formats.blocks import BlockFormat, block_size_text, clamped_exponent
from chop.formats.rounding import HIGHEST_EXPONENT, LOWEST_EXPONENT, exponent_nearest, nearest_power_, power_of_two

MAX_WIDTH = 8
MAX_BIAS_WIDTH = 8


@FORMATS.register("block_log")
@dataclass(frozen=True, kw_only=True)
class BlockLog(BlockFormat):
    """±2^e with `width` - 1 bits of exponent below that of the block's greatest magnitude; nearest by logarithm.

    Stored is that exponent, in `exponent_bias_width` bits of two's complement. There is no code for zero: it becomes
    the block's smallest magnitude, so the law `odd` fails at zero alone.

    >>> BlockLog(width=3, exponent_bias_width=8, block_size=(4,)).quantize(torch.tensor([3.0, -0.7, 0.1, 0.0]))
    tensor([ 4.0000, -0.5000,  0.5000,  0.5000])
    """

    arithmetic: ClassVar[Arithmetic] = "power_of_two"

    width: int
    exponent_bias_width: int

    def __post_init__(self) -> None:
        super().__post_init__()
        require_int("width", self.width, 2, MAX_WIDTH)
        require_int("exponent_bias_width", self.exponent_bias_width, 1, MAX_BIAS_WIDTH)

    @property
    def laws(self) -> frozenset[Law]:
        return frozenset({"idempotent", "monotone", "nearest_log"})

    def __str__(self) -> str:
        return f"block_log {self.width}b{self.exponent_bias_width} {block_size_text(self.block_size)}"

    @property
    def _element_bits(self) -> int:
        return self.width

    @property
    def _shared_bits(self) -> int:
        return self.exponent_bias_width

    def _exponents(self, largest: Tensor) -> tuple[Tensor, Tensor]:
        """The least and the greatest exponent of each block."""
        bound = 2 ** (self.exponent_bias_width - 1)
        top = clamped_exponent(exponent_nearest(largest), -bound, bound - 1)
        return (top - (2 ** (self.width - 1) - 1)).clamp_(min=LOWEST_EXPONENT), top

    def _round_blocks(self, blocks: Tensor, largest: Tensor) -> Tensor:
        low = power_of_two(self._exponents(largest)[0])
        low = torch.where(largest.isnan(), largest, low)  # a block with NaN is NaN, as it is where scales are shared
        # A block's own top exponent is beyond its elements, unless it is the greatest that can be stored.
        limit = 2.0 ** min(2 ** (self.exponent_bias_width - 1) - 1, HIGHEST_EXPONENT)
        signed = blocks + 0.0  # -0 becomes +0, so that equal numbers stay equal
        return nearest_power_(signed.clamp(-limit, limit)).clamp_(min=low).copysign_(signed)

    def values(self, x: Tensor) -> Tensor | None:
        low, high = (int(exponent) for exponent in self._exponents(x.abs().amax()))
        magnitudes = torch.exp2(torch.arange(low, high + 1, dtype=torch.float64))
        return torch.cat([-magnitudes.flip(0), magnitudes])
