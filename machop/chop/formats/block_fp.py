"""Block floating point: signed integers that share one exponent a block."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from chop.formats.base import FORMATS, Arithmetic, Law, require_int
from chop.formats.blocks import BlockFormat, block_size_text, clamped_exponent
from chop.formats.rounding import exponent_below, power_of_two

MAX_WIDTH = 24
MAX_EXPONENT_WIDTH = 8
LARGEST_BIAS = 160


@FORMATS.register("block_fp")
@dataclass(frozen=True, kw_only=True)
class BlockFP(BlockFormat):
    """Sign and `width` - 1 bits of magnitude, times 2^(e - width + 1) with one shared e a block (MSFP).

    e = floor(log2 max) + 1, within what `exponent_width` bits hold with `exponent_bias` (absent: 2^(E-1) - 1). Half to
    even; a maximum that would round up to 2^e saturates one step below. Darvish Rouhani et al., NeurIPS 2020.

    >>> BlockFP(width=4, exponent_width=8, block_size=(4,)).quantize(torch.tensor([1.0, 0.3, -0.9, 0.1]))
    tensor([ 1.0000,  0.2500, -1.0000,  0.0000])
    """

    arithmetic: ClassVar[Arithmetic] = "integer"

    width: int
    exponent_width: int
    exponent_bias: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        require_int("width", self.width, 2, MAX_WIDTH)
        require_int("exponent_width", self.exponent_width, 1, MAX_EXPONENT_WIDTH)
        if self.exponent_bias is None:
            object.__setattr__(self, "exponent_bias", 2 ** (self.exponent_width - 1) - 1)
        require_int("exponent_bias", self.exponent_bias, -LARGEST_BIAS, LARGEST_BIAS)

    @property
    def laws(self) -> frozenset[Law]:
        return frozenset({"idempotent", "monotone", "odd", "nearest"})

    def __str__(self) -> str:
        return f"block_fp {self.width}e{self.exponent_width} {block_size_text(self.block_size)}"

    @property
    def _element_bits(self) -> int:
        return self.width

    @property
    def _shared_bits(self) -> int:
        return self.exponent_width

    def _scale(self, largest: Tensor) -> Tensor:
        """2^(e - 1) for each block: at least half of its greatest magnitude."""
        bias = self.exponent_bias or 0
        return power_of_two(
            clamped_exponent(exponent_below(largest), -bias - 1, 2**self.exponent_width - 2 - bias),
        )

    def _round_blocks(self, blocks: Tensor, largest: Tensor) -> Tensor:
        scale, steps = self._scale(largest), 2.0 ** (self.width - 2)
        limit = 2 ** (self.width - 1) - 1
        codes = blocks.mul(1.0 / scale).mul_(steps).round_().clamp_(-limit, limit)
        return codes.mul_(1.0 / steps).mul_(scale)

    def values(self, x: Tensor) -> Tensor | None:
        limit = 2 ** (self.width - 1) - 1
        codes = torch.arange(-limit, limit + 1, dtype=torch.float64)
        step = float(self._scale(x.abs().amax())) / (1 << self.width - 2)
        return codes * step
