"""Converts between numbers of points and codes (one choice per axis); the last axis changes fastest."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from chop.evaluation.program import Alternative, Axis

__all__ = ["Alternative", "Axis", "Codes", "code_of", "codes_of_range", "index_of"]

Codes = np.ndarray[Any, Any]
"""Points as whole numbers `(points, axes)`: the alternative at each axis."""


def code_of(index: int, sizes: Sequence[int]) -> list[int]:
    """The code of the point with a number of any size.

    >>> code_of(6, (2, 5))
    [1, 1]
    """
    code = []
    for size in reversed(sizes):
        index, alternative = divmod(index, size)
        code.append(alternative)
    return code[::-1]


def index_of(code: Sequence[int], sizes: Sequence[int]) -> int:
    """The number, of any size, of the point with a code.

    >>> index_of([1, 1], (2, 5))
    6
    """
    index = 0
    for alternative, size in zip(code, sizes, strict=True):
        index = index * size + int(alternative)
    return index


def codes_of_range(first: int, stop: int, sizes: Sequence[int]) -> Codes:
    """The codes of points `first` to `stop - 1`, `(points, axes)`.

    >>> codes_of_range(4, 7, (2, 5)).tolist()
    [[0, 4], [1, 0], [1, 1]]
    """
    index = np.arange(first, stop)
    codes = np.empty((stop - first, len(sizes)), dtype=np.int64)
    for axis in range(len(sizes) - 1, -1, -1):
        index, codes[:, axis] = np.divmod(index, sizes[axis])
    return codes
