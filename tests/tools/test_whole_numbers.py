"""Whole numbers of any size come back from text and JSON as they were, and fit into tables."""

from __future__ import annotations

import json

import numpy as np
import pytest

from chop.tools.whole_numbers import LARGEST_IN_ARRAYS, as_column, as_json, as_text, from_json, readable

SIZES = [0, 1, 2**53, 2**53 + 1, 2**63 - 1, 2**63, 10**300, 13**280 - 1, 10**4299, 10**5000 + 7]


@pytest.mark.parametrize("number", SIZES, ids=range(len(SIZES)))
def test_json_holds_the_exact_number_also_for_readers_that_know_floats_alone(number: int) -> None:
    text = json.dumps(as_json(number))
    assert from_json(json.loads(text)) == number
    as_float = json.loads(text, parse_int=float)
    assert isinstance(as_float, str) or int(as_float) == number


@pytest.mark.parametrize("value", [True, 1.5, None, "x", [1]])
def test_what_is_no_number_is_refused(value: object) -> None:
    with pytest.raises((TypeError, ValueError)):
        from_json(value)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("number", "shown"),
    [
        (999, "999"),
        (10**15 - 1, "999,999,999,999,999"),
        (10**15, "1.0e15"),
        (1949 * 10**15, "1.9e18"),
        (1950 * 10**15, "2.0e18"),
        (99 * 10**18, "9.9e19"),
        (996 * 10**18, "1.0e21"),
        (10**400, "1.0e400"),
        (10**400 - 1, "1.0e400"),
        (7 * 10**5000, "7.0e5000"),
    ],
    ids=range(10),
)
def test_counts_are_short_for_people(number: int, shown: str) -> None:
    assert readable(number) == shown


def test_a_column_is_of_numbers_as_long_as_all_fit() -> None:
    assert as_column([3, -1, LARGEST_IN_ARRAYS]).dtype == np.int64
    assert as_column([3, LARGEST_IN_ARRAYS + 1]) == ["3", str(2**63)]
    assert as_column([10**5000])[0] == hex(10**5000)
    assert int(as_text(10**5000), 0) == 10**5000
