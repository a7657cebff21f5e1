"""Parts that the pictures of a comparison share: figures, labels, and the line that says what is shown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import floor
from textwrap import fill
from typing import TYPE_CHECKING, Any

import numpy as np

from chop.record.comparison import Band, CompareSummary, counted
from chop.report.line_styles import Style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

CHARACTER = 0.0075
"""Inches that a character of a label takes, for each point of its size."""

EVALUATIONS = "evaluations (distinct configurations)"
FEW = 50
"""Evaluations up to which their axis is linear."""

PANEL = 1.6
"""Inches of the narrowest panel."""

MOST_BANDS = 5
"""Strategies whose bands are drawn: more of them cover each other."""


def wrapped(label: str, inches: float) -> str:
    """A label of the usual size in as many lines as its axis needs."""
    import matplotlib

    return fill(label, int(inches / (CHARACTER * matplotlib.rcParams["font.size"])), break_long_words=False)


def panels(count: int, width: float | None) -> int:
    """The number of panels in a row: at most three, and fewer where a figure is narrow."""
    return min(3, count) if width is None else max(1, min(3, count, int(width / PANEL)))


def dot(color: str, marker: str = ".", **style: Any) -> Line2D:
    """A marker for a legend."""
    from matplotlib.lines import Line2D

    return Line2D([], [], color=color, marker=marker, linestyle="none", markersize=6, **style)


def new_figure(width: float, height: float) -> Figure:
    """An empty figure of a size in inches, which arranges its axes by itself."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def has_bands(summary: CompareSummary) -> bool:
    """Whether the spread over seeds is drawn."""
    return len(summary.seeds) > 1 and len(summary.strategies) <= MOST_BANDS


def lowest_percent(summary: CompareSummary) -> float:
    """Where the axis of the hypervolume begins, in percent: what most strategies have after a few evaluations.

    A strategy that ends below is seen as a whole where there are few evaluations.
    """
    first = max(1, min(10, summary.budget // 5))
    after = [100 * one.hypervolume.at(first)[1] for one in summary.strategies]
    ends = [100 * float(one.hypervolume.median[-1]) for one in summary.strategies]
    seen = min(float(np.quantile(after, 0.25)), 90.0, *(ends if summary.budget <= FEW else []))
    return max(0.0, 10.0 * floor(seen / 10))


def highest_regret(summary: CompareSummary, label: str) -> float:
    """Where the axis of a regret ends: the highest after a hundredth of the evaluations, whatever the limit."""
    alike = [own for own in summary.strategies[0].regret if own.partition(", ")[0] == label.partition(", ")[0]]
    first = 1 + summary.budget // 100
    return max(one.regret[own].at(first)[1] for one in summary.strategies for own in alike)


def what_is_shown(summary: CompareSummary) -> str:
    """Seeds, space and samples in one line."""
    over = "median and 10-90 % band over " if has_bands(summary) else "median over " if len(summary.seeds) > 1 else ""
    end = ";" if summary.interrupted else ","
    size = counted(summary.space_size, "network")
    return f"{over}{summary.extent}{end} {size} in the space{f', {summary.samples}' if summary.samples else ''}"


def footing(summary: CompareSummary) -> str | None:
    """A note for pictures without seeds and space in their title: the samples, and whether runs are missing."""
    return ", ".join([summary.extent] * summary.interrupted + [summary.samples] * bool(summary.samples)) or None


def with_unit(metric: str, units: Mapping[str, str]) -> str:
    """The label of a metric: its name, and its unit in brackets if it has one."""
    unit = units.get(metric)
    return f"{spelled(metric)} [{unit}]" if unit else spelled(metric)


def spelled(metric: str) -> str:
    """The name of a metric in words."""
    return metric.replace("_", " ")


def draw_band(axes: Axes, own: Band, style: Style, alpha: float, scale: float = 1.0, label: str | None = None) -> None:
    """The median of a strategy by evaluation, and its band over seeds where `alpha` is above 0."""
    x = np.arange(1, len(own.median) + 2)  # the last value is seen up to the evaluation that was not made
    low, median, high = (scale * np.append(values, values[-1]) for values in (own.low, own.median, own.high))
    if alpha:
        axes.fill_between(x, low, high, step="post", color=style["color"], alpha=alpha, linewidth=0)
    axes.step(x, median, where="post", label=label, **style)


def evaluations_axis(axes: Axes, budget: int, digits: Sequence[int] = (1, 2, 5)) -> None:
    """A logarithmic axis of evaluations with plain numbers; a linear one where there are few."""
    import matplotlib.ticker

    axes.set_xlim(1, budget + 0.5 if budget <= FEW else 1.02 * budget)  # the last step is to be seen
    axes.set_xlabel(EVALUATIONS)
    axes.xaxis.set_major_locator(matplotlib.ticker.MaxNLocator(integer=True))
    if budget <= FEW:
        return
    axes.set_xscale("log")
    ticks = [digit * 10**power for power in range(7) for digit in digits if digit * 10**power <= budget]
    ticks = [*(tick for tick in ticks if budget >= 1.6 * tick), budget]
    axes.set_xticks(ticks)
    axes.xaxis.set_major_formatter(matplotlib.ticker.FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axes.xaxis.set_minor_locator(matplotlib.ticker.NullLocator())
