"""Quantities with units."""

from __future__ import annotations

import pytest

from chop.config.units import parse_quantity


@pytest.mark.parametrize(
    ("text", "unit", "value"),
    [
        ("2 KiB", "byte", 2048.0),
        ("2KiB", "byte", 2048.0),
        ("1 kB", "byte", 1000.0),
        ("8 kbit", "byte", 1000.0),
        ("64 bytes", "byte", 64.0),
        ("6.5 bits", "bit", 6.5),
        ("73 %", "", 0.73),
        ("0.73", "", 0.73),
        ("1e-3", "", 0.001),
        ("-2", "", -2.0),
        ("10 us", "s/sample", 1e-05),
        ("1.5 µs/sample", "s/sample", 1.5e-06),
        ("3 MFLOP", "FLOP/sample", 3e6),
        ("4 x", "x", 4.0),
        ("5 apples", "apples", 5.0),
    ],
)
def test_what_a_text_means(text: str, unit: str, value: float) -> None:
    assert parse_quantity(text, unit) == value


@pytest.mark.parametrize(
    ("text", "unit", "units"),
    [
        ("2 KiB", "", "(%)"),
        ("5 %", "byte", "(B, kB"),
        ("many", "bit", "(bit, kbit"),
        ("", "", "(%)"),
        ("1 kb", "byte", "(B"),
    ],
)
def test_another_unit_is_refused_with_those_that_there_are(text: str, unit: str, units: str) -> None:
    with pytest.raises(ValueError, match="expected a number") as caught:
        parse_quantity(text, unit)
    assert units in str(caught.value)
    assert repr(text) in str(caught.value)
