"""The conformance suite of chop on posits, and some values from the standard."""

from chop_posit import Posit, magnitudes_of

from chop.testing import FormatConformance


class TestPosit(FormatConformance):
    """Everything that must hold for a number format."""

    formats = (Posit(8, 0), Posit(8, 1), Posit(6, 2), Posit(3, 0))


def test_values_of_the_standard() -> None:
    """The positive values of a posit with 4 bits and no exponent bits."""
    assert magnitudes_of(4, 0).tolist() == [0, 0.25, 0.5, 0.75, 1, 1.5, 2, 4]
