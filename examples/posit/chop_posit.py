"""Posits (Gustafson and Yonemoto, 2017): a tapered floating-point format, precise around 1 and wide at the ends."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from math import prod

import torch
from torch import Tensor

from chop.formats import Format
from chop.formats.base import Law, require_int


@dataclass(frozen=True)
class Posit(Format):
    """`width` bits with `exponent_width` bits of exponent behind the regime; to the nearest value, ties to the lower.

    Saturating at both ends: what is not 0 never becomes 0. NaN stays NaN (the standard's NaR).
    """

    width: int
    exponent_width: int = 1

    def __post_init__(self) -> None:
        require_int("width", self.width, 3, 12)
        require_int("exponent_width", self.exponent_width, 0, 3)

    def __str__(self) -> str:
        return f"posit {self.width}e{self.exponent_width}"

    @property
    def laws(self) -> frozenset[Law]:
        return frozenset({"idempotent", "monotone", "odd"})

    def bits(self, shape: Sequence[int]) -> int:
        return self.width * prod(shape)

    def values(self, x: Tensor) -> Tensor:
        magnitudes = magnitudes_of(self.width, self.exponent_width)
        return torch.cat([-magnitudes.flip(0), magnitudes]).unique()

    def _round(self, x: Tensor) -> Tensor:
        known = magnitudes_of(self.width, self.exponent_width).to(x.dtype).to(x.device)
        bounds = (known[1:] + known[:-1]) / 2
        bounds[0] = 0  # between 0 and the least value: nothing but 0 itself becomes 0
        nearest = known[torch.searchsorted(bounds, x.abs())].copysign(x) + 0.0
        return torch.where(x.isnan(), x, nearest)


@cache
def magnitudes_of(width: int, exponent_width: int) -> Tensor:
    """All values from 0 up, decoded bit by bit, float64."""
    return torch.tensor([decoded(code, width, exponent_width) for code in range(2 ** (width - 1))], dtype=torch.float64)


def decoded(code: int, width: int, exponent_width: int) -> float:
    """The value of a positive code: regime, exponent, fraction behind the sign bit."""
    if code == 0:
        return 0.0
    bits = f"{code:0{width - 1}b}"
    run = len(bits) - len(bits.lstrip(bits[0]))
    regime = run - 1 if bits[0] == "1" else -run
    rest = bits[run + 1 :]
    exponent = int(rest[:exponent_width].ljust(exponent_width, "0") or "0", 2)
    fraction = rest[exponent_width:]
    mantissa = 1 + (int(fraction, 2) / 2 ** len(fraction) if fraction else 0)
    return float(mantissa * 2.0 ** (regime * 2**exponent_width + exponent))
