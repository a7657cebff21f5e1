"""Labels and titles of pictures can be read: none lies on another, no list of seeds is broken in two."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise, product
from math import log2
from typing import Any

import pytest

pytest.importorskip("matplotlib")

from chop.report.figures import SIZES
from chop.report.plots.matplotlib_drawing import drawn
from chop.report.plots.pictures import (
    Axis,
    Bars,
    Bound,
    Curve,
    Curves,
    HeatMap,
    Parallel,
    Place,
    Points,
    Scatter,
    Steps,
)


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


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("count", [1, 3])
def test_a_long_constraint_lies_within_the_figure(size: str, count: int) -> None:
    names = [f"accuracy of {place} at least 0.6922 (max_drop 2 % from FP32 0.7122)" for place in range(count)]
    points = [
        Points(name, "cloud", [1.0, 2.0], [0.5, 0.8]) for name in ("1,234 networks", "98,765 violate a constraint")
    ]
    picture = Scatter("bits", "accuracy", points, [Bound(name, "y", 0.6922) for name in names])
    figure = drawn(picture, SIZES[size])
    figure.draw_without_rendering()
    (legend,) = figure.legends
    box, whole = legend.get_window_extent(), figure.bbox
    assert whole.x0 <= box.x0 and box.x1 <= whole.x1 and box.y1 <= whole.y1
    texts = [" ".join(own.get_text().split()) for own in legend.get_texts()]
    assert texts == ["1,234 networks", "98,765 violate a constraint", *names]
    assert figure.axes[0].get_window_extent().height > 0.3 * whole.height


def test_names_of_parallel_axes_are_broken_into_lines_that_keep_apart() -> None:
    plotly = pytest.importorskip("chop.report.plots.plotly_drawing")
    names = [f"encoder_layer_{number}_attention_output act width" for number in range(12)]
    figure = plotly.drawn(Parallel([Axis(name, [0.0, 1.0]) for name in names], 0))
    labels = [own["label"] for own in figure.data[0]["dimensions"]]
    assert all(len(line) <= 10 for label in labels for line in label.split("<br>"))
    assert [label.replace("_<br>", "_").replace("<br>", " ") for label in labels] == names
    assert figure.layout.margin.b > 13 * max(label.count("<br>") for label in labels)


LONG = [f"transformer_encoder_layers_{number}_intermediate_dense_projection act" for number in range(12)]
ONE = Points("1 network", "cloud", [1.0], [0.5])
BITS = HeatMap("trial", ["3", "17"], LONG, [[4.0, 8.0]] * 12, [["7.8b/learned", "8"]] * 12, "bits")
LONG_NAMES = {
    "cells": BITS,
    "bars": Bars("share", [("accuracy", [(name, 0.1) for name in LONG])], "note"),
    "scatter": Scatter("average_activation_bits [bit]", "accuracy (9,763 validation samples)", [ONE]),
    "parallel": Parallel([Axis(name, [0.0, 1.0]) for name in LONG], 0),
    "steps": Steps("evaluations", [1.0, 2.0], [("energy of the memory [pJ/sample]", [1.0, 0.5])] * 3),
}


@pytest.mark.parametrize(
    ("name", "inches"),
    [*((name, None) for name in LONG_NAMES), *product(("cells", "scatter", "steps"), SIZES.values())],
)
def test_long_names_lie_within_the_figure_and_leave_room_to_the_picture(
    name: str, inches: tuple[float, float] | None
) -> None:
    picture = LONG_NAMES[name]
    figure = drawn(picture, inches)
    figure.draw_without_rendering()
    axes = figure.axes[0]
    titles = [axes.xaxis.label, axes.yaxis.label, *axes.get_xticklabels(), *axes.get_yticklabels()]
    boxes = [own.get_window_extent() for own in titles if any(map(str.isalpha, own.get_text()))]
    whole = figure.bbox.padded(1)
    assert all(whole.x0 <= box.x0 and box.x1 <= whole.x1 and whole.y0 <= box.y0 and box.y1 <= whole.y1 for box in boxes)
    assert axes.get_window_extent().width > 0.2 * figure.bbox.width
    rows = [own.get_window_extent() for own in axes.get_yticklabels()]
    apart = [one.y0 >= other.y1 or other.y0 >= one.y1 for one, other in pairwise(rows)]
    assert all(apart)
    across = [own.get_window_extent() for own in axes.get_xticklabels() if own.get_text()]
    assert all(one.x1 <= other.x0 for one, other in pairwise(across))


def test_panels_of_bars_lie_as_far_apart_as_a_title_needs() -> None:
    plotly = pytest.importorskip("chop.report.plots.plotly_drawing")
    figure = plotly.drawn(
        Bars("share", [(name, [("fc", 0.5)] * 10) for name in ("accuracy", "bits", "energy")], "note")
    )
    inside = figure.layout.height - figure.layout.margin.t - figure.layout.margin.b
    ends = [figure.layout[name].domain for name in ("yaxis", "yaxis2", "yaxis3")]
    gaps = [inside * (above[0] - below[1]) for above, below in pairwise(ends)]
    assert gaps == pytest.approx([plotly.BETWEEN_PANELS] * 2, abs=1)
    assert all(inside * (high - low) > 9 * plotly.BAR for low, high in ends)


def test_labels_of_a_front_lie_on_its_empty_side() -> None:
    for values, side in (([0.5, 0.6, 0.9], "right"), ([0.9, 0.6, 0.5], "left")):
        front = Points("front", "front", [1.0, 2.0, 3.0], values, labels=["1", "2", "3"], line=True)
        (axes,) = drawn(Scatter("bits", "accuracy", [front])).axes
        assert {own.get_ha() for own in axes.texts} == {side}


def test_the_lowest_panel_of_each_column_has_numbers_below_it() -> None:
    place = [Place(float(x), 0.5, 0.5, 0.5, 1, None) for x in (2, 4, 8)]
    figure = drawn(Curves("width", "accuracy", [Curve(f"format {n}", False, place) for n in range(7)], None, ""))
    figure.draw_without_rendering()
    has_numbers = [
        any(own.get_visible() and own.label1.get_visible() for own in axes.xaxis.get_major_ticks())
        for axes in figure.axes[:7]
    ]
    assert has_numbers == [False] * 4 + [True] * 3


WIDTHS = [[float(bits) for bits in range(1, 33)]]
SHARES = [[share / 10 for share in range(-10, 11)]]


@pytest.mark.parametrize(("values", "scale"), [(WIDTHS, "bits"), (SHARES, "correlation")])
def test_the_text_of_each_cell_contrasts_with_its_colour(values: list[list[float]], scale: Any) -> None:
    plotly = pytest.importorskip("chop.report.plots.plotly_drawing")
    texts = [[f"{value:g}" for value in values[0]]]
    picture = HeatMap("trial", texts[0], ["fc"], values, texts, scale)
    (image,) = drawn(picture).axes[0].images
    shown = image.get_array()[0]
    found = [
        (own.get_color(), image.to_rgba(float(shown[int(own.get_position()[0])])))
        for own in drawn(picture).axes[0].texts
    ]
    assert len(found) == len(values[0])
    for trace in plotly.drawn(picture).data:
        shares = [(own - trace.zmin) / (trace.zmax - trace.zmin) for own in trace.z[0] if own == own]
        name = {"bits": "Viridis", "correlation": "RdBu"}[scale]
        colours = plotly.sample_colorscale(name, shares, colortype="tuple")
        found += [(trace.textfont.color, colour) for colour in colours]
        assert [own for own in trace.text[0] if own] == [f"{own:g}" for own in values[0] if shown_in(trace, own, scale)]
    assert len(found) == 2 * len(values[0])
    assert min(contrast(*own) for own in found) >= 4.5


def shown_in(trace: Any, value: float, scale: str) -> bool:
    """Whether a trace of a heat map has a cell with this value."""
    return any(own == (log2(value) if scale == "bits" else value) for own in trace.z[0])


def contrast(ink: str, colour: Sequence[float]) -> float:
    """The contrast of WCAG 2.1 between black or white and a colour, from its definition."""
    linear = [own / 12.92 if own <= 0.04045 else ((own + 0.055) / 1.055) ** 2.4 for own in colour[:3]]
    luminance = sum(own * share for own, share in zip(linear, (0.2126, 0.7152, 0.0722), strict=True))
    dark, light = sorted((luminance, {"black": 0.0, "white": 1.0}[ink]))
    return (light + 0.05) / (dark + 0.05)


def test_texts_of_the_cells_of_one_network_keep_apart() -> None:
    figure = drawn(HeatMap("trial 3", ["act", "w"], ["fc"], [[7.8, 3.0]], [["7.8b/learned", "3.1b/learned"]], "bits"))
    figure.draw_without_rendering()
    first, second = (own.get_window_extent() for own in figure.axes[0].texts)
    assert first.x1 < second.x0
