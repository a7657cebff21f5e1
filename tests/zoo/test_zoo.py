"""Every model of the zoo is right in all paths of chop, or refused where it must be."""

from __future__ import annotations

import pytest

from tests.zoo.checks import examine
from tests.zoo.specimens import SPECIMENS, TRACED, Specimen


@pytest.mark.parametrize(
    "specimen",
    [
        pytest.param(own, id=own.name, marks=[] if own in TRACED else [pytest.mark.slow])  # the same models, exported
        for own in SPECIMENS
    ],
)
def test_a_model_of_the_zoo_is_right_or_refused(specimen: Specimen) -> None:
    found = examine(specimen)
    assert found.verdict == ("refused" if specimen.refused else "right"), found.why
    assert specimen.refused in found.why
