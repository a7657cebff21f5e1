"""Masked places: values that mean "nothing here" are not rounded, and no range is measured on them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from chop.formats import Format

NEGLIGIBLE = 88.0
"""A score that far below the greatest of its row has a softmax weight that is no normal number of float32 (2^-126)."""

FILL = 5000.0
"""Magnitudes from here on are fill values where scores go into a softmax: -1e4, -1e9, finfo.min of any type."""

LOWEST = 32752.0
"""Magnitudes from here on (half of float16's range) are fill values where the greatest value is taken."""


@dataclass(frozen=True)
class MaskRule:
    """Which values of a tensor are masked.

    These are values at or below `-floor`, and in rows along `dim` (if given) those that are `NEGLIGIBLE` beside the
    greatest. With `both_signs`, also those at or above `floor`.
    """

    floor: float
    dim: int | None = None
    both_signs: bool = False

    def masked(self, x: Tensor) -> Tensor:
        """Where `x` is masked."""
        found = x.abs() >= self.floor if self.both_signs else x <= -self.floor
        if self.dim is None or not x.numel():
            return found
        dim = self.dim if -x.ndim <= self.dim < x.ndim else -1
        return found | (x < x.amax(dim, keepdim=True) - NEGLIGIBLE)


def hidden(value: Any, rule: MaskRule | None) -> Any:
    """A floating tensor with minus infinity where it is masked, which no format measures; other values as they are."""
    if rule is None or not isinstance(value, Tensor) or not value.is_floating_point():
        return value
    return value.masked_fill(rule.masked(value), -math.inf)


def rounded(x: Tensor, number_format: Format, rule: MaskRule | None) -> Tensor:
    """`x` rounded to a format, without its masked places, which stay unchanged."""
    if rule is None:
        return number_format.quantize(x)
    masked = rule.masked(x)
    if not masked.any():
        return number_format.quantize(x)
    return torch.where(masked, x, number_format.quantize(x.masked_fill(masked, -math.inf)))
