"""Keys of a TOML file become the fields of a format: what is missing, and what `"NA"` stands for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest

from chop.errors import FormatError
from chop.formats.keyed import Keyed


@dataclass(frozen=True)
class Fixed(Keyed):
    """A format whose fraction width has no default."""

    width: int
    frac_width: int
    rule: str = "max"


@pytest.mark.parametrize("absent", ["NA", None])
def test_na_takes_the_default_of_a_field(absent: Any) -> None:
    assert Fixed.from_keys({"width": 8, "frac_width": 4, "rule": absent}) == Fixed(8, 4)


@pytest.mark.parametrize("absent", ["NA", None])
def test_na_for_a_field_without_a_default_says_the_cure(absent: Any) -> None:
    cure = r'missing key frac_width \("NA" means the default; Fixed has no default: give a value, or, if'
    with pytest.raises(FormatError, match=cure):
        Fixed.from_keys({"width": 8, "frac_width": absent})


def test_a_key_that_is_absent_is_named() -> None:
    with pytest.raises(FormatError, match=r"missing key width, frac_width \(Fixed has no default: give a value"):
        Fixed.from_keys({})
