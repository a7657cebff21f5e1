"""Draws the best value so far of a comparison with one objective (matplotlib, the extra `plots`)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from chop.record.comparison import Band, CompareSummary, StrategySummary
from chop.report.compare_plot_parts import (
    draw_band,
    evaluations_axis,
    has_bands,
    new_figure,
    what_is_shown,
    with_unit,
    wrapped,
)
from chop.report.line_styles import line_styles
from chop.scoring.intervals import SHARES, wilson_interval

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NOISE = "#f0e442"
FIRST = 0.1
"""Share of the budget after which all that strategies have found is to be seen; before it, only the better ones."""


def best_so_far(summary: CompareSummary, width: float | None = None) -> Figure | None:
    """The best value by evaluation, the best that there is, and what its samples cannot tell apart from it.

    None for several objectives, and where no strategy has a value of its own. `width` in inches; without it 5.6.
    """
    if summary.goals.sum_direction or len(summary.goals.names) > 1 or not summary.strategies[0].regret:
        return None
    (objective,) = summary.goals.objectives
    best = float(summary.front[objective.metric][0])
    inches = width or 5.6
    figure = new_figure(inches, max(3.2, min(4.2, 0.75 * inches)))
    axes = figure.add_subplot()
    styles = line_styles([one.name for one in summary.strategies])
    bands = {one.name: _values(one, best, objective.turn) for one in summary.strategies}
    noise = _noise(summary, objective.metric, best)
    if noise is not None:
        axes.axhspan(noise, best, color=NOISE, alpha=0.35, linewidth=0, label="not told apart from the best (95 %)")
    for name, band in bands.items():
        draw_band(axes, band, styles[name], alpha=0.15 * has_bands(summary), label=name)
    whole = "best of all" if summary.is_exact else "best known"
    axes.axhline(best, color="black", linewidth=0.9, linestyle=(0, (6, 3)), label=f"{whole}: {best:.4g}")
    evaluations_axis(axes, summary.budget)
    axes.set_ylim(*_limits(bands.values(), best, noise, 1 + int(FIRST * summary.budget)))
    axes.set_ylabel(f"best {with_unit(objective.metric, summary.units)} so far")
    axes.set_title(wrapped(what_is_shown(summary), inches), color="#444444")
    figure.legend(loc="outside lower center", ncols=2 if inches > 5 else 1)
    return figure


def _values(one: StrategySummary, best: float, turn: float) -> Band:
    """The best values so far: the regret, turned into what the metric was."""
    (regret,) = one.regret.values()
    low, high = best + turn * regret.high, best + turn * regret.low
    return Band(low, best + turn * regret.median, high)


def _noise(summary: CompareSummary, metric: str, best: float) -> float | None:
    """The lower bound of the 95 % interval of the best value, by the number of samples."""
    samples = summary.sample_count
    return wilson_interval(round(best * samples), samples)[1] if samples and metric in SHARES else None


def _limits(bands: Iterable[Band], best: float, noise: float | None, count: int) -> tuple[float, float]:
    """The ends of the axis: a little beyond the best, and what strategies have after `count` evaluations."""
    seen = [value for band in bands for value in band.at(count)] + ([] if noise is None else [noise])
    far = max(seen, key=lambda value: abs(value - best))
    rim = 0.06 * (best - far)
    low, high = sorted((far - rim, best + rim))
    return (low, high) if low < high else (best - 0.5, best + 0.5)
