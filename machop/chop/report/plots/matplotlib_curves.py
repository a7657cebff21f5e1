"""Draws curves with matplotlib: together, or each in a panel of its own."""

from __future__ import annotations

import re
from itertools import cycle
from math import ceil
from textwrap import fill

import matplotlib.ticker
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from chop.report.plots.colours import CURVES, OTHERS
from chop.report.plots.pictures import Curve, Curves

MARKS = "osD^vP"
CHARACTER = 0.066
"""Inches that a character of the title takes."""

MOST_TOGETHER = len(CURVES)
"""Curves in one picture; of more, each has a panel of its own, with the others in grey behind it."""

PANELS_ABREAST = 3


def size(found: Curves) -> tuple[float, float]:
    """Inches that suit a picture, which is read on a phone as well."""
    names = len(found.names)
    return (5.2, 4.2) if names <= MOST_TOGETHER else (5.2, 1.2 + 1.3 * ceil(names / PANELS_ABREAST))


def draw_curves(figure: Figure, found: Curves) -> None:
    """Curves with marks at what was measured.

    A bar is the 95 % interval by the number of samples. A band reaches from the lowest to the highest of several
    networks. Networks before tuning have open marks and dashed lines, where tuned ones are beside them.
    """
    if len(found.names) > MOST_TOGETHER:
        _panels(figure, found)
    else:
        _together(figure, found)
    lines = re.sub(r"(\d), (?=\d)", "\\1,\N{NO-BREAK SPACE}", found.title).splitlines()
    title = "\n".join(fill(line, int(figure.get_figwidth() / CHARACTER)) for line in lines)
    figure.suptitle(title, x=0.01, ha="left", fontsize=8, color="#444444")


def _together(figure: Figure, found: Curves) -> None:
    axes = figure.add_subplot()
    _draw_baseline(axes, found)
    for name, color, mark in zip(found.names, CURVES, MARKS, strict=False):
        for own in (own for own in found.curves if own.name == name):
            _draw(axes, own, color, mark, found.label(own), is_open=found.has_tuned and not own.tuned)
    _tick(axes, found)
    axes.set_xlabel(found.x)
    axes.set_ylabel(found.y)
    figure.legend(loc="outside lower center", ncols=2, fontsize=8)


def _panels(figure: Figure, found: Curves) -> None:
    names = found.names
    rows = ceil(len(names) / PANELS_ABREAST)
    grid = figure.subplots(rows, PANELS_ABREAST, sharex=True, sharey=True, squeeze=False).ravel()
    for axes, name, color in zip(grid, names, cycle(CURVES), strict=False):
        _draw_baseline(axes, found)
        for other in (own for own in found.curves if own.name != name):
            axes.plot(*_line(other), color=OTHERS, linewidth=0.7, zorder=1)
        for own in (own for own in found.curves if own.name == name):
            _draw(axes, own, color, "o", found.label(own), is_open=found.has_tuned and not own.tuned, size=3)
        axes.set_title(name, fontsize=8)
        _tick(axes, found)
    for axes in grid[len(names) :]:
        axes.set_axis_off()
    for axes in grid[max(0, len(names) - PANELS_ABREAST) : len(names)]:  # the lowest of their columns
        axes.tick_params(labelbottom=True)
    figure.supxlabel(found.x, fontsize=8)
    figure.supylabel(found.y, fontsize=8)


def _line(curve: Curve) -> tuple[list[float], list[float]]:
    return [own.x for own in curve.places], [own.middle for own in curve.places]


def _draw(axes: Axes, curve: Curve, color: str, mark: str, label: str, is_open: bool, size: float = 5) -> None:
    x, y = _line(curve)
    face, dashes = ("white", "dashed") if is_open else (color, "solid")
    axes.plot(
        x, y, marker=mark, color=color, markerfacecolor=face, linestyle=dashes, label=label, markersize=size, zorder=3
    )
    if any(own.networks > 1 for own in curve.places):
        low, high = [own.low for own in curve.places], [own.high for own in curve.places]
        axes.fill_between(x, low, high, color=color, alpha=0.2, linewidth=0, zorder=2)
    for own in (own for own in curve.places if own.interval is not None):
        assert own.interval is not None
        axes.plot([own.x, own.x], own.interval, color=color, linewidth=1, solid_capstyle="butt", zorder=2.5)


def _draw_baseline(axes: Axes, found: Curves) -> None:
    if found.baseline is not None:
        axes.axhline(found.baseline, color="black", linewidth=0.9, linestyle=(0, (6, 3)), label="FP32", zorder=1.5)


def _tick(axes: Axes, found: Curves) -> None:
    """Ticks at what was measured, where there are few places; of numbers from 1 on by doubling, if they reach far."""
    places = sorted({place.x for own in found.curves for place in own.places})
    if places[0] >= 1 and places[-1] >= 8 * places[0]:
        axes.set_xscale("log", base=2)
        axes.xaxis.set_major_formatter(matplotlib.ticker.FuncFormatter(lambda value, _: f"{value:g}"))
        axes.xaxis.set_minor_locator(matplotlib.ticker.NullLocator())
    if len(places) <= 12 and len(axes.figure.axes) == 1:
        axes.set_xticks(places, [f"{place:g}" for place in places])
