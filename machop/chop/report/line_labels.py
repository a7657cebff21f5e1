"""Labels curves at their ends, in place of a legend."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean
from typing import TYPE_CHECKING

from chop.record.comparison import percent
from chop.report.line_styles import Style

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LINE = 1.6 / 72
"""Inches between labels, for each point of their size."""

AXES = 0.82
"""The height of axes, as a share of that of their figure."""


def label_ends(axes: Axes, ends: Sequence[tuple[str, float]], styles: dict[str, Style]) -> None:
    """A name at the end of each curve, moved apart where curves end close together."""
    from matplotlib import rcParams
    from matplotlib.font_manager import FontProperties

    size = FontProperties(size=rcParams["legend.fontsize"]).get_size_in_points()
    gap = LINE * size / (AXES * axes.figure.bbox.height / axes.figure.dpi)
    bottom, top = axes.get_ylim()
    ordered = sorted(ends, key=lambda end: end[1])
    wanted = [(max(value, bottom) - bottom) / (top - bottom) for _, value in ordered]
    for (name, value), height, at in zip(ordered, wanted, spaced(wanted, gap, 1.0), strict=True):
        color = styles.get(name, {"color": "black"})["color"]
        axes.annotate(
            f"{name} {percent(value / 100, 1)}{' ↓' if value < bottom else ''}" if name in styles else name,
            (1.0, height),
            xytext=(1.06, at),
            xycoords="axes fraction",
            textcoords="axes fraction",
            color=color,
            fontsize=size,
            va="center",
            arrowprops={
                "arrowstyle": "-",
                "color": color,
                "linewidth": 0.6,
                "shrinkA": 1,
                "shrinkB": 0,
                "relpos": (0, 0.5),
            },
        )


def spaced(wanted: Sequence[float], gap: float, top: float) -> list[float]:
    """Ascending heights moved as little as need be so that neighbours are `gap` apart and none is above `top`.

    Labels that would overlap make a group about their mean height.

    >>> [round(height, 2) for height in spaced([0.1, 0.5, 0.52, 0.98], 0.1, 1.0)]
    [0.1, 0.46, 0.56, 0.98]
    """
    groups: list[list[float]] = []
    for place, height in enumerate(wanted):
        groups.append([height - place * gap])
        while len(groups) > 1 and fmean(groups[-2]) > fmean(groups[-1]):
            groups[-2:] = [groups[-2] + groups[-1]]
    means = [fmean(group) for group in groups for _ in group]
    heights = [mean + gap * place for place, mean in enumerate(means)]
    limit = top
    for place in reversed(range(len(heights))):
        heights[place] = min(heights[place], limit)
        limit = heights[place] - gap
    return heights
