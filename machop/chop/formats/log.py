"""Logarithmic numbers: a sign and a power of two."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from chop.errors import FormatError
from chop.formats.base import FORMATS, Arithmetic, Format, Law, count, require_int
from chop.formats.rounding import HIGHEST_EXPONENT, LOWEST_EXPONENT, nearest_power_

MAX_WIDTH = 9
LARGEST_BIAS = 160


@FORMATS.register("log")
@dataclass(frozen=True)
class Log(Format):
    """±2^e with `width` - 1 bits of exponent, e from -bias to 2^(width-1) - 1 - bias; nearest by logarithm.

    There is no code for zero: it becomes the smallest magnitude, so the law `odd` fails at zero alone. In float32,
    exponents below -126 and above 127 are out of reach.

    >>> Log(width=4).quantize(torch.tensor([3.0, -2.8, 100.0, 0.0, -0.0]))
    tensor([ 4.0000, -2.0000, 16.0000,  0.1250,  0.1250])
    """

    arithmetic: ClassVar[Arithmetic] = "power_of_two"

    width: int
    exponent_bias: int | None = None

    def __post_init__(self) -> None:
        require_int("width", self.width, 2, MAX_WIDTH)
        if self.exponent_bias is None:
            object.__setattr__(self, "exponent_bias", max(2 ** (self.width - 2) - 1, 0))
        require_int("exponent_bias", self.exponent_bias, -LARGEST_BIAS, LARGEST_BIAS)
        low, high = self.exponent_range
        if low > high:
            raise FormatError(f"exponent_bias = {self.exponent_bias}: such values cannot be simulated in float32")

    @property
    def is_elementwise(self) -> bool:
        return True

    @property
    def laws(self) -> frozenset[Law]:
        return frozenset({"idempotent", "monotone", "nearest_log"})

    def __str__(self) -> str:
        return f"log {self.width} bias {self.exponent_bias}"

    @property
    def exponent_range(self) -> tuple[int, int]:
        """The least and the greatest exponent."""
        assert self.exponent_bias is not None
        highest = 2 ** (self.width - 1) - 1 - self.exponent_bias
        return max(-self.exponent_bias, LOWEST_EXPONENT), min(highest, HIGHEST_EXPONENT)

    def bits(self, shape: Sequence[int]) -> int:
        return count(shape) * self.width

    def values(self, x: Tensor) -> Tensor | None:
        low, high = self.exponent_range
        magnitudes = torch.exp2(torch.arange(low, high + 1, dtype=torch.float64))
        return torch.cat([-magnitudes.flip(0), magnitudes])

    def _round(self, x: Tensor) -> Tensor:
        low, high = self.exponent_range
        signed = x + 0.0  # -0 becomes +0, so that equal numbers stay equal
        magnitude = nearest_power_(signed.clamp(-(2.0**high), 2.0**high)).clamp_(min=2.0**low).copysign_(signed)
        return torch.where(signed.isnan(), signed, magnitude)
