"""Draws the fronts that strategies found beside the exact one (matplotlib, the extra `plots`)."""

from __future__ import annotations

from math import ceil
from typing import TYPE_CHECKING, Any

import numpy as np

from chop.record.comparison import CompareSummary, StrategySummary, counted, percent
from chop.report.compare_plot_parts import dot, footing, new_figure, panels, with_unit, wrapped
from chop.report.line_styles import Style, line_styles

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Array = np.ndarray[Any, Any]
CLOUD = "#dddddd"
EDGE = 0.7
"""Width of the dark edge of points that a strategy found: it stands out from the cloud whatever the colour."""

LEGEND_ENTRY = 1.75
"""Inches that an entry of the legend takes."""


def front(summary: CompareSummary, width: float | None = None) -> Figure | None:
    """The exact front, the uniform configurations, and the front of each strategy's median run.

    `width` in inches; without it what the panels need.
    """
    if not summary.pairs:
        return None
    cost, value = summary.pairs[0]
    columns = panels(len(summary.strategies), width)
    rows = ceil(len(summary.strategies) / columns)
    inches = width or max(4.5, 2.6 * columns)
    figure = new_figure(inches, (1.2 if columns > 2 else 1.8) + min(2.1, 0.81 * inches / columns) * rows)
    grid = np.atleast_1d(figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)).ravel()
    styles = line_styles([one.name for one in summary.strategies])
    for axes, one in zip(grid, summary.strategies, strict=False):
        _draw_front(axes, summary, one, cost, value, styles[one.name])
    for place, axes in enumerate(grid):
        axes.tick_params(labelbottom=place + columns >= len(summary.strategies))
    for axes in grid[len(summary.strategies) :]:
        axes.set_axis_off()
    _front_limits(grid[0], summary, cost, value)
    figure.supxlabel(with_unit(cost, summary.units))
    figure.supylabel(with_unit(value, summary.units))
    handles, labels = grid[0].get_legend_handles_labels()
    after = counted(summary.budget, "evaluation")
    lines = ["Fronts of the run in the middle", f"% of the {summary.whole} after {after}"]
    lines += ["two of the objectives are shown"] * (len(summary.goals.names) > 2)
    lines = ["; ".join(lines), footing(summary) or ""] if columns > 2 else [*lines, footing(summary) or ""]
    handles[0] = dot(CLOUD)  # the points themselves are too small to be seen here
    handles[-1] = dot("white", "o", markeredgecolor="black", markeredgewidth=EDGE)  # of any colour
    legend = figure.legend(
        handles,
        labels,
        title="\n".join(wrapped(line, inches) for line in lines if line),
        loc="outside upper center",
        ncols=max(1, min(4, int(inches / LEGEND_ENTRY))),
    )
    legend.get_title().set_multialignment("center")
    return figure


def _draw_front(axes: Axes, summary: CompareSummary, one: StrategySummary, cost: str, value: str, style: Style) -> None:
    size = 2.0 if summary.space_size > 1000 else 10.0
    label = "all networks" if len(summary.cloud[cost]) == summary.space_size else "configurations of the space"
    axes.scatter(
        summary.cloud[cost],
        summary.cloud[value],
        s=size,
        color=CLOUD,
        linewidths=0,
        rasterized=True,
        label=label,
    )
    x, y = _staircase(summary, cost, value)
    best = summary.best if len(summary.goals.names) == 2 else f"{summary.of_what} front of these two"
    axes.plot(x, y, color="black", linewidth=1.0, label=best)
    if len(summary.uniform[cost]):
        axes.plot(
            summary.uniform[cost], summary.uniform[value], "x", color="#6b6b6b", markersize=4, label="all layers alike"
        )
    axes.plot(
        one.front[cost],
        one.front[value],
        "o",
        color=style["color"],
        markersize=4.2,
        markeredgecolor="black",
        markeredgewidth=EDGE,
        label="found by the strategy",
    )
    axes.set_title(f"{one.name}: {percent(one.front_share, 1)} %", color=style["color"])


def _staircase(summary: CompareSummary, cost: str, value: str) -> tuple[Array, Array]:
    """The corners of the boundary between what two of the metrics can be together and what not."""
    turns = {o.metric: o.turn for o in summary.goals.objectives}
    x, y = turns[cost] * summary.front[cost], turns[value] * summary.front[value]
    order = np.lexsort((y, x))
    x, y = x[order], y[order]
    kept = np.append(True, y[1:] < np.minimum.accumulate(y)[:-1])
    x, y = x[kept], y[kept]
    far = 10 * (np.ptp(summary.cloud[cost]) + np.ptp(summary.cloud[value]) + 1.0)
    x, y = np.append(np.repeat(x, 2), x[-1] + far), np.concatenate([[y[0] + far], np.repeat(y, 2)])
    return turns[cost] * x, turns[value] * y


def _front_limits(axes: Axes, summary: CompareSummary, cost: str, value: str) -> None:
    """Axes about the fronts and the uniform networks, and not about the whole space, whose worst are of no interest."""
    for name, set_limits in ((cost, axes.set_xlim), (value, axes.set_ylim)):
        shown = np.concatenate(
            [summary.front[name], summary.uniform[name], *(one.front[name] for one in summary.strategies)]
        )
        margin = 0.06 * (float(np.ptp(shown)) or 1.0)
        set_limits(float(shown.min()) - margin, float(shown.max()) + margin)
