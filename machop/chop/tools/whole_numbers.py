"""Integers of any size, such as the number of a point in a space, as text, JSON and table columns.

Arrays and tables hold whole numbers up to 2^63, readers of JSON exact ones up to 2^53, floating point any up to 10^308,
and Python itself writes at most 4,300 digits. Sizes of search spaces pass all four.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

LARGEST_IN_JSON = 2**53
LARGEST_IN_ARRAYS = 2**63 - 1
_LARGEST_SHOWN = 10**15
_LARGEST_IN_DECIMALS = 10**4000


def readable(number: int) -> str:
    """A count for people: exact, or from 10^15 on rounded.

    >>> readable(1234567), readable(10**15), readable(-5), readable(13**280)
    ('1,234,567', '1.0e15', '-5', '8.0e311')
    """
    if abs(number) < _LARGEST_SHOWN:
        return f"{number:,}"
    exponent = math.floor(number.bit_length() * math.log10(2)) + 1
    while number < 10**exponent:
        exponent -= 1
    digits = (number + 5 * 10 ** (exponent - 2)) // 10 ** (exponent - 1)
    first, second = divmod(digits, 10) if digits < 100 else (1, 0)
    return f"{first}.{second}e{exponent if digits < 100 else exponent + 1}"


def as_text(number: int) -> str:
    """All digits: decimal, or hexadecimal with more than 4,000 of them. `int(text, 0)` reads both."""
    return str(number) if abs(number) < _LARGEST_IN_DECIMALS else hex(number)


def as_json(number: int) -> int | str:
    """A number for JSON: beyond 2^53 its digits as a string.

    >>> as_json(2**53), as_json(2**53 + 1)
    (9007199254740992, '9007199254740993')
    """
    return number if abs(number) <= LARGEST_IN_JSON else as_text(number)


def from_json(value: int | str) -> int:
    """The number that `as_json` wrote. Raises ValueError or TypeError for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise TypeError(f"expected a whole number, got {value!r}")
    return value if isinstance(value, int) else int(value, 0)


def as_column(numbers: Sequence[int]) -> Any:
    """Numbers as the column of a table: an int64 array, or their digits as strings where one needs more bits."""
    if all(abs(number) <= LARGEST_IN_ARRAYS for number in numbers):
        return np.array(numbers, dtype=np.int64)
    return [as_text(number) for number in numbers]
