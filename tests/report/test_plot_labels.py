"""Labels and titles of pictures can be read: none lies on another, no list of seeds is broken in two."""

from __future__ import annotations

import pytest

pytest.importorskip("matplotlib")

from chop.report.plots.matplotlib_drawing import drawn
from chop.report.plots.pictures import Curve, Curves, Place, Points, Scatter


def test_a_label_that_would_lie_on_an_earlier_one_is_left_out() -> None:
    x, y = [1e5, 2e5, 2.001e5, 3e5], [0.5, 0.6, 0.6005, 0.9]
    front = Points("front", "front", x, y, labels=["10", "11", "12", "13"], line=True)
    (axes,) = drawn(Scatter("bits", "accuracy", [front])).axes
    assert [own.get_text() for own in axes.texts] == ["10", "11", "13"]


def test_a_list_of_seeds_stays_on_one_line_of_the_title() -> None:
    place = Place(2.0, 0.5, 0.5, 0.5, 1, None)
    title = "reviews-transformer, reviews, 4,000 validation samples, tuned with seeds 0, 1, 2"
    figure = drawn(Curves("weight width", "accuracy", [Curve("", True, [place])], None, title))
    assert [line.split()[-3:] for line in figure.get_suptitle().splitlines()][-1] == ["0,", "1,", "2"]
