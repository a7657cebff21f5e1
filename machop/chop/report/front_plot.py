"""Draws the trials of a search and its Pareto front, by two metrics (the extra `plots`)."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING

from chop.errors import ChopError
from chop.record.summary import SearchSummary
from chop.record.trial import Trial
from chop.tools.extras import install_command

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CLOUD, FRONT, BASELINE = "#bbbbbb", "#0072B2", "#D55E00"


def front_figure(summary: SearchSummary, trials: Sequence[Trial], x: str | None, y: str | None) -> Figure:
    """Trials as grey points, the front as a line of points with their numbers, baselines as crosses.

    `x` and `y` are metrics: the second objective and the first, if not given. Raises ChopError without matplotlib.
    """
    if find_spec("matplotlib") is None:
        raise ChopError(f"a picture needs the package matplotlib: {install_command('plots')}")
    from matplotlib.figure import Figure

    names = [own.metric for own in summary.goals.objectives]
    across, up = x or names[min(1, len(names) - 1)], y or names[0]
    figure = Figure(figsize=(6.4, 4.2), layout="constrained")
    axes = figure.add_subplot()
    measured = [trial for trial in trials if trial.counts]
    axes.scatter(*_values(measured, across, up), s=14, color=CLOUD, label=f"{len(measured)} networks", zorder=2)
    front = sorted((row.trial for row in summary.best), key=lambda trial: trial.metrics[across])
    axes.plot(*_values(front, across, up), "o-", color=FRONT, linewidth=1.4, markersize=5, label="front", zorder=3)
    for trial in front:
        place = (trial.metrics[across], trial.metrics[up])
        axes.annotate(str(trial.number), place, xytext=(4, 4), textcoords="offset points", fontsize=8, color=FRONT)
    for name, row in summary.baselines.items():
        axes.scatter(*_values([row.trial], across, up), marker="x", color=BASELINE, label=name, zorder=3)
    axes.set_xlabel(_titled(across, summary))
    axes.set_ylabel(_titled(up, summary))
    axes.grid(color="#e6e6e6", linewidth=0.7)
    axes.legend(frameon=False)
    return figure


def _values(trials: Sequence[Trial], x: str, y: str) -> tuple[list[float], list[float]]:
    return [trial.metrics[x] for trial in trials], [trial.metrics[y] for trial in trials]


def _titled(metric: str, summary: SearchSummary) -> str:
    facts = summary.metrics.get(metric)
    return f"{metric} [{facts.unit}]" if facts and facts.unit else metric
