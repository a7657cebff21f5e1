"""Shifts of the last layer's weights, which classes do not see: a softmax compares its outputs."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

POWERS = 2.0 ** np.arange(-8, 5, dtype=np.float32)


def bits_between(values: Floats) -> Floats:
    """For each number the bits from its highest to its lowest one that is set; 0 for a zero.

    >>> bits_between(np.array([0.0, 0.5, -0.75, 5.0], np.float32)).tolist()
    [0.0, 1.0, 2.0, 3.0]
    """
    codes = np.abs(np.ldexp(np.frexp(values.astype(np.float64))[0], 52)).astype(np.int64)
    lowest = np.frexp((codes & -codes).astype(np.float64))[1]
    return np.where(codes > 0, 53 - lowest, 0).astype(np.float32)


def shifted(weights: Floats) -> tuple[Floats, Floats]:
    """Numbers to take from all weights of an input, and what is left: `(shifts)` and `(shifts, weights)`.

    They are zero, and those that make one weight zero or a power of two.
    """
    near = np.concatenate([weights, np.subtract.outer(weights, POWERS).ravel(), np.add.outer(weights, POWERS).ravel()])
    shifts = np.concatenate([np.zeros(1, np.float32), near])
    return shifts, weights - shifts[:, None]
