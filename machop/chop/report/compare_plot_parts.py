"""Parts that the pictures of a comparison share: figures, labels, and the line that says what is shown."""

from __future__ import annotations

from collections.abc import Mapping
from textwrap import fill
from typing import TYPE_CHECKING, Any

from chop.record.comparison import CompareSummary, counted

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

CHARACTER = 0.075
"""Inches that a character of a label takes."""

MOST_BANDS = 5
"""Strategies whose bands are drawn: more of them cover each other."""


def wrapped(label: str, inches: float) -> str:
    """A label of the usual size in as many lines as its axis needs."""
    return fill(label, int(inches / CHARACTER), break_long_words=False)


def dot(color: str, marker: str = ".", **style: Any) -> Line2D:
    """A marker for a legend."""
    from matplotlib.lines import Line2D

    return Line2D([], [], color=color, marker=marker, linestyle="none", markersize=6, **style)


def new_figure(width: float, height: float) -> Figure:
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def has_bands(summary: CompareSummary) -> bool:
    """Whether the spread over seeds is drawn."""
    return len(summary.seeds) > 1 and len(summary.strategies) <= MOST_BANDS


def what_is_shown(summary: CompareSummary) -> str:
    """Seeds, space and samples in one line."""
    over = "median and 10-90 % band over " if has_bands(summary) else "median over " if len(summary.seeds) > 1 else ""
    end = ";" if summary.interrupted else ","
    size = counted(summary.space_size, "network")
    return f"{over}{summary.extent}{end} {size} in the space{f', {summary.samples}' if summary.samples else ''}"


def footing(summary: CompareSummary) -> str | None:
    """What pictures say that do not tell seeds and space: the samples, and that runs are missing."""
    return ", ".join([summary.extent] * summary.interrupted + [summary.samples] * bool(summary.samples)) or None


def with_unit(metric: str, units: Mapping[str, str]) -> str:
    unit = units.get(metric)
    return f"{spelled(metric)} [{unit}]" if unit else spelled(metric)


def spelled(metric: str) -> str:
    return metric.replace("_", " ")
