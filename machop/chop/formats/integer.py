"""Fixed point: integers of a given width, scaled by a power of two."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from chop.formats.base import FORMATS, Format, count, format_name, require_int

MAX_WIDTH = 32
MAX_FRACTION = 64


@dataclass(frozen=True)
class _FixedPoint(Format):
    """clamp(round(x · 2^frac_width), low, high) / 2^frac_width, in two's complement or unsigned."""

    context_fields: ClassVar[frozenset[str]] = frozenset({"is_signed"})

    width: int
    frac_width: int | None = None
    is_signed: bool = True

    def __post_init__(self) -> None:
        require_int("width", self.width, 1, MAX_WIDTH)
        if self.frac_width is None:
            object.__setattr__(self, "frac_width", self.width // 2)
        require_int("frac_width", self.frac_width, -MAX_FRACTION, MAX_FRACTION)

    def __str__(self) -> str:
        unsigned = "" if self.is_signed else " unsigned"
        return f"{format_name(type(self))} {self.width}.{self.frac_width}{unsigned}"

    @property
    def code_range(self) -> tuple[int, int]:
        """The least and the greatest integer code."""
        if self.is_signed:
            return -(2 ** (self.width - 1)), 2 ** (self.width - 1) - 1
        return 0, 2**self.width - 1

    def bits(self, shape: Sequence[int]) -> int:
        return count(shape) * self.width

    def _round(self, x: Tensor) -> Tensor:
        scale = 2.0 ** (self.frac_width or 0)
        low, high = self.code_range
        codes = self._to_integer(x * scale)
        return codes.clamp(low, _round_down(high, x.dtype)) * (1.0 / scale)

    @staticmethod
    @abstractmethod
    def _to_integer(scaled: Tensor) -> Tensor: ...


def _round_down(code: int, dtype: torch.dtype) -> float:
    """The greatest value of `dtype` that is no greater than `code` (float32 holds integers to 2^24 only)."""
    if dtype is torch.float64:
        return float(code)
    nearest = np.float32(code)
    return float(nearest if int(nearest) <= code else np.nextafter(nearest, np.float32(0)))


@FORMATS.register("integer", aliases=("fixed",))
@dataclass(frozen=True)
class Integer(_FixedPoint):
    """Fixed point, rounded half to even. `frac_width` may be negative or above `width`; absent: width // 2.

    >>> Integer(width=4, frac_width=2).quantize(torch.tensor([0.3, 0.375, 9.0, -9.0]))
    tensor([ 0.2500,  0.5000,  1.7500, -2.0000])
    """

    @staticmethod
    def _to_integer(scaled: Tensor) -> Tensor:
        return scaled.round()


@FORMATS.register("integer_floor")
@dataclass(frozen=True)
class IntegerFloor(_FixedPoint):
    """Fixed point, rounded towards minus infinity: what a circuit does that drops the lower bits.

    >>> IntegerFloor(width=4, frac_width=2).quantize(torch.tensor([0.3, 0.375, -0.1]))
    tensor([ 0.2500,  0.2500, -0.2500])
    """

    @staticmethod
    def _to_integer(scaled: Tensor) -> Tensor:
        return scaled.floor()
