"""OCP Microscaling integers: two's complement with one power-of-two scale a block."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from chop.formats.base import FORMATS, Arithmetic, Law, require_int
from chop.formats.blocks import BlockFormat, block_size_text, clamped_exponent
from chop.formats.rounding import HIGHEST_EXPONENT, exponent_below, power_of_two

MAX_ELEMENT_BITS = 16
MAX_SCALE_BITS = 8


@FORMATS.register("mxint")
@dataclass(frozen=True, kw_only=True)
class MXInt(BlockFormat):
    """`element_bits` of two's complement with all but two bits after the point, times a scale 2^floor(log2 max).

    The scale has `scale_bits` bits (E8M0: exponents -127 … 127; in float32 from -126). Half to even, saturating. OCP
    Microscaling Formats v1.0, section 5.3.3; element_bits = 8 is MXINT8. The law `odd` fails at the lower end, which
    reaches one step further: with 4 bits, -1.99 becomes -2 and 1.99 becomes 1.75. `idempotent` fails for the same
    reason: a block's -2 has the greater scale 2 when it is rounded again.

    >>> MXInt(element_bits=4, block_size=(2,)).quantize(torch.tensor([1.99, 0.3, -1.99, 0.3]))
    tensor([ 1.7500,  0.2500, -2.0000,  0.2500])
    """

    arithmetic: ClassVar[Arithmetic] = "integer"

    element_bits: int = 8
    scale_bits: int = 8

    def __post_init__(self) -> None:
        super().__post_init__()
        require_int("element_bits", self.element_bits, 2, MAX_ELEMENT_BITS)
        require_int("scale_bits", self.scale_bits, 1, MAX_SCALE_BITS)

    @property
    def laws(self) -> frozenset[Law]:
        return frozenset({"monotone", "nearest"})

    def __str__(self) -> str:
        return f"mxint {self.element_bits} {block_size_text(self.block_size)}"

    @property
    def _element_bits(self) -> int:
        return self.element_bits

    @property
    def _shared_bits(self) -> int:
        return self.scale_bits

    def _scale(self, largest: Tensor) -> Tensor:
        bound = 2 ** (self.scale_bits - 1) - 1
        return power_of_two(clamped_exponent(exponent_below(largest), -bound, bound))

    def _round_blocks(self, blocks: Tensor, largest: Tensor) -> Tensor:
        scale, steps, limit = self._scale(largest), 2.0 ** (self.element_bits - 2), 2 ** (self.element_bits - 1)
        codes = blocks.mul(1.0 / scale).mul_(steps).round_().clamp_(max=limit - 1)
        # -2 times 2^127 is no number of float32.
        codes = torch.maximum(codes, torch.where(scale >= 2.0**HIGHEST_EXPONENT, 1.0 - limit, -float(limit)))
        return codes.mul_(1.0 / steps).mul_(scale)

    def values(self, x: Tensor) -> Tensor | None:
        limit = 2 ** (self.element_bits - 1)
        codes = torch.arange(-limit, limit, dtype=torch.float64)
        step = float(self._scale(x.abs().amax())) / (1 << self.element_bits - 2)
        return (codes * step)[(codes * step).abs() <= torch.finfo(torch.float32).max]
