"""Fixed-point grids by their definition, independent of the formats that are checked with them."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

MASKED = 1e30
"""Magnitudes from here on mark places that are masked; they belong to no grid and must stay what they are."""

FILL, FAR = 1000.0, 80.0
"""Magnitudes that are fill values, and the distance from the greatest score below which a softmax weight is nothing."""

FINEST = 60
"""The largest fraction, up or down, that a grid may have."""

WIDTH = 4
"""Bits of a coarse grid: few enough that the values of a network do not lie on it by chance."""


@dataclass(frozen=True)
class Grid:
    """The multiples of 2^-fraction from -2^(WIDTH-1) to 2^(WIDTH-1) - 1 of them, with one fraction or one a channel."""

    fractions: tuple[int, ...]
    axis: int = 0

    @classmethod
    def clipping(cls, x: Tensor, axis: int | None = None) -> Grid:
        """The grid that ends below the greatest magnitude of `x`, so that rounding always changes it.

        With an `axis` there is a fraction for every index along it.
        """
        rows = x.reshape(1, -1) if axis is None else x.movedim(axis, 0).flatten(1)
        fractions = (min(max(WIDTH - 1 - _exponent(row), -FINEST), FINEST) for row in rows)
        return cls(tuple(fractions), axis or 0)

    def rounded(self, x: Tensor) -> Tensor:
        """The nearest value of the grid for each element of `x`, half to even; masked places as they are."""
        scale = torch.tensor([2.0**fraction for fraction in self.fractions], dtype=torch.float64, device=x.device)
        is_one = len(self.fractions) == 1
        shape = [] if is_one else [-1 if place == self.axis % x.ndim else 1 for place in range(x.ndim)]
        scale = scale.reshape(shape)
        codes = torch.round(x.double() * scale).clamp(-(2 ** (WIDTH - 1)), 2 ** (WIDTH - 1) - 1)
        return torch.where(is_masked(x), x.double(), codes / scale).to(x.dtype)


def is_masked(x: Tensor) -> Tensor:
    """Where `x` is infinite or as good as that (NaN counts too)."""
    return ~(x.abs() < MASKED)


def is_far_off(x: Tensor) -> Tensor:
    """Where an element may pass for a masked score: of a huge magnitude, or far below the greatest one."""
    return (x.abs() >= FILL) | (x <= x.amax() - FAR) if x.numel() else is_masked(x)


def _exponent(x: Tensor) -> int:
    """The exponent of the greatest magnitude that is not masked; 0 where all are zero."""
    known = x[~is_masked(x)]
    largest = float(known.abs().amax()) if known.numel() else 0.0
    return math.frexp(largest)[1] - 1 if largest else 0
