"""The integer codes of a format whose values are whole numbers times powers of two."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Integers = NDArray[np.int64]


@dataclass(frozen=True)
class Grid:
    """clamp(round(x · 2^frac), low, high) · 2^-frac, with numbers that broadcast to the elements of one sample.

    `rounds_down`: towards minus infinity, else half to even. An element whose `low` and `high` are 0 is always 0.
    """

    frac: Integers
    low: Integers
    high: Integers
    rounds_down: bool = False

    @classmethod
    def of(cls, frac: Any, low: Any, high: Any, rounds_down: bool = False) -> Grid:
        """A grid of anything that NumPy makes arrays of."""
        own, least, most = (np.asarray(value, dtype=np.int64) for value in (frac, low, high))
        is_zero = (least == 0) & (most == 0)
        return cls(np.where(is_zero, own.min(), own) if np.any(is_zero) else own, least, most, rounds_down)
