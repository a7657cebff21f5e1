"""A small picture of a front for a notebook: an image in the text itself, which needs no library."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterable
from itertools import pairwise

import numpy as np

from chop.report.plots.colours import COLOURS
from chop.report.plots.pictures import Points, Scatter
from chop.tools.markup import Html, element

WIDTH, HEIGHT = 440, 250
LEFT, RIGHT, TOP, BOTTOM = 52, 12, 12, 40
INK = "#808080"
"""Reads on white and on black."""

SHADES = {**COLOURS, "front": "#3a8fd0", "cloud": "#9aa2aa", "violating": "#9aa2aa"}
MOST_POINTS = 600
"""Points of the cloud that a picture of this size has room for."""


def front_image(picture: Scatter, description: str) -> Html:
    """The networks, the front and lines, as an `img` that holds all of it; `description` is read out in its place."""
    points = [own for own in picture.points if own.role in SHADES and own.role != "other"]
    if not any(len(own.x) for own in points):
        return Html("")
    x, y = (_scale([value for own in points for value in getattr(own, name)]) for name in "xy")
    parts = [_marks(own, x, y) for own in points]
    parts += [_bound(bound.axis, bound.value, SHADES[bound.role], x, y) for bound in picture.bounds]
    svg = element(
        "svg",
        *_frame(picture, x, y),
        *parts,
        xmlns="http://www.w3.org/2000/svg",
        viewBox=f"0 0 {WIDTH} {HEIGHT}",
        width=WIDTH,
        height=HEIGHT,
    )
    source = f"data:image/svg+xml;base64,{b64encode(svg.encode()).decode()}"
    return element("img", src=source, alt=description, width=WIDTH, height=HEIGHT, style="max-width: 100%")


Range = tuple[float, float]


def _scale(values: Iterable[float]) -> Range:
    """The least and the greatest value, with some room around."""
    found = np.array([*values], np.float64)
    low, high = float(found.min()), float(found.max())
    room = 0.05 * ((high - low) or abs(high) or 1.0)
    return low - room, high + room


def _across(value: float, x: Range) -> str:
    return f"{LEFT + (value - x[0]) / (x[1] - x[0]) * (WIDTH - LEFT - RIGHT):.1f}"


def _up(value: float, y: Range) -> str:
    return f"{HEIGHT - BOTTOM - (value - y[0]) / (y[1] - y[0]) * (HEIGHT - TOP - BOTTOM):.1f}"


def _marks(own: Points, x: Range, y: Range) -> Html:
    step = max(1, -(-len(own.x) // MOST_POINTS)) if own.role in ("cloud", "violating") else 1
    at = [(_across(a, x), _up(b, y)) for a, b in zip(own.x[::step], own.y[::step], strict=True)]
    colour, size = SHADES[own.role], {"front": 3.2, "baseline": 3.2}.get(own.role, 1.8)
    lines = [element("line", x1=a, y1=b, x2=c, y2=d) for (a, b), (c, d) in pairwise(at)] if own.line else []
    face = {"fill": "none", "stroke": colour} if own.role == "violating" else {"fill": colour}
    dots = [element("circle", cx=a, cy=b, r=str(size)) for a, b in at]
    return element("g", element("g", *lines, stroke=colour), *dots, **face)


def _bound(axis: str, value: float, colour: str, x: Range, y: Range) -> Html:
    low, high = x if axis == "x" else y
    if not low <= value <= high:
        return Html("")
    at = _across(value, x) if axis == "x" else _up(value, y)
    ends = (
        {"x1": at, "x2": at, "y1": str(TOP), "y2": str(HEIGHT - BOTTOM)}
        if axis == "x"
        else {"x1": str(LEFT), "x2": str(WIDTH - RIGHT), "y1": at, "y2": at}
    )
    return element("line", stroke=colour, **{"stroke-dasharray": "2 3"}, **ends)


def _frame(picture: Scatter, x: Range, y: Range) -> list[Html]:
    """The axes with some values, and their titles."""
    bottom, right = HEIGHT - BOTTOM, WIDTH - RIGHT
    ink = {"fill": INK, "font-family": "sans-serif", "font-size": "11"}
    across = [
        element("text", f"{value + 0.0:.3g}", x=_across(value, x), y=bottom + 14, **ink, **{"text-anchor": "middle"})
        for value in _ticks(x)
    ]
    up = [
        element("text", f"{value + 0.0:.3g}", x=LEFT - 5, y=_up(value, y), **ink, **{"text-anchor": "end"})
        for value in _ticks(y)
    ]
    middle = (TOP + bottom) // 2
    turned = {"transform": f"rotate(-90 12 {middle})", "text-anchor": "middle"}
    return [
        element("path", d=f"M{LEFT} {TOP}V{bottom}H{right}", fill="none", stroke=INK),
        *across,
        *up,
        element("text", picture.x_title, x=(LEFT + right) // 2, y=HEIGHT - 8, **ink, **{"text-anchor": "middle"}),
        element("text", picture.y_title, x=12, y=middle, **ink, **turned),
    ]


def _ticks(span: Range) -> list[float]:
    """Some round values within a range."""
    width = span[1] - span[0]
    size = 10.0 ** np.floor(np.log10(width))
    step = next(own for own in (size / 5, size / 2, size, 2 * size) if width / own <= 6)
    first = np.ceil(span[0] / step) * step
    return [float(value) for value in np.arange(first, span[1], step)]
