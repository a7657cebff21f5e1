"""Draws the pictures of a comparison with matplotlib (the extra `plots`)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from math import ceil, isinf
from pathlib import Path
from typing import TYPE_CHECKING, Any

from chop.record.comparison import TARGETS, CompareSummary
from chop.record.names import PICTURE_KINDS, PICTURES
from chop.report.compare_best_plot import best_so_far
from chop.report.compare_front_plot import front
from chop.report.compare_plot_parts import (
    EVALUATIONS,
    FEW,
    dot,
    draw_band,
    evaluations_axis,
    footing,
    has_bands,
    highest_regret,
    lowest_percent,
    new_figure,
    panels,
    spelled,
    what_is_shown,
    with_unit,
    wrapped,
)
from chop.report.line_labels import label_ends
from chop.report.line_styles import line_styles
from chop.report.plots.matplotlib_settings import FOR_COMPARISONS, rendered
from chop.tools.extras import install_command
from chop.tools.files import write_whole
from chop.tools.interrupts import Held

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MARKERS = ("o", "s", "D", "^")


def write_plots(folder: Path, summary: CompareSummary, held: Held) -> tuple[list[Path], list[str]]:
    """Write the pictures as PNG and SVG, all of them or, after Ctrl-C or an error, none; without matplotlib none.

    A line says why. Those of an earlier comparison that was cut off do not stay.
    """
    forget_plots(folder)
    if find_spec("matplotlib") is None:
        return [], [f"No pictures: matplotlib is not installed ({install_command('plots')})."]
    try:
        return _drawn(folder, summary, held), []
    except KeyboardInterrupt:
        why = "Interrupted: the pictures are not drawn."
    except Exception as error:  # of matplotlib, or of its fonts
        why = f"The pictures could not be drawn: {type(error).__name__}: {' '.join(str(error).split())}."
    forget_plots(folder)
    return [], [why]


def forget_plots(folder: Path) -> None:
    """Remove the pictures from a folder."""
    for name in PICTURES:
        for kind in PICTURE_KINDS:
            (folder / f"{name}.{kind}").unlink(missing_ok=True)


def _drawn(folder: Path, summary: CompareSummary, held: Held) -> list[Path]:
    files: list[Path] = []
    for name, figure in figures(summary):
        if held.came:
            raise KeyboardInterrupt
        files += [
            write_whole(folder / f"{name}.{kind}", rendered(figure, kind, 200, FOR_COMPARISONS))
            for kind in PICTURE_KINDS
        ]
    if held.came:
        raise KeyboardInterrupt
    return files


def figures(
    summary: CompareSummary, width: float | None = None, settings: Any = FOR_COMPARISONS
) -> Iterator[tuple[str, Figure]]:
    """The pictures by name, `width` inches wide, or each as wide as it needs; one that there is not is left out."""
    import matplotlib

    for name, draw in zip(PICTURES, (best_so_far, hypervolume, front, regret, evaluations_to), strict=True):
        with matplotlib.rc_context(settings):
            figure = draw(summary, width)
        if figure is not None:
            yield name, figure


def hypervolume(summary: CompareSummary, width: float | None = None) -> Figure:
    """The share of the front's hypervolume by evaluation; `width` in inches, without it 7.2."""
    inches = width or 7.2
    figure = new_figure(inches, max(2.9, 0.61 * inches))
    axes = figure.add_subplot()
    styles = line_styles([one.name for one in summary.strategies])
    for one in summary.strategies:
        draw_band(axes, one.hypervolume, styles[one.name], scale=100, alpha=0.12 * has_bands(summary))
    axes.axhline(100, color="black", linewidth=0.9, linestyle=(0, (6, 3)))
    lowest = lowest_percent(summary)
    axes.set_ylim(lowest, 100 + 0.04 * (100 - lowest))
    axes.set_yticks(sorted({lowest, *(tick for tick in axes.get_yticks() if lowest <= tick <= 100)}))
    cut = f"; axis from {lowest:g}" if lowest else ""
    is_front = len(summary.goals.names) > 1
    label = f"hypervolume [% of the {summary.best}'s{cut}]" if is_front else f"{summary.whole} [%{cut}]"
    axes.set_ylabel(wrapped(label, 0.75 * figure.get_figheight()))
    evaluations_axis(axes, summary.budget)
    ends = [(one.name, 100 * float(one.hypervolume.median[-1])) for one in summary.strategies]
    label_ends(axes, [*ends, (summary.best, 100.0)], styles)
    axes.set_title(wrapped(what_is_shown(summary), inches - 0.85), color="#444444")
    return figure


def regret(summary: CompareSummary, width: float | None = None) -> Figure:
    """The regret of each strategy under each budget; `width` in inches, without it what the panels need."""
    labels = list(summary.strategies[0].regret)
    columns = panels(len(labels), width)
    rows = ceil(len(labels) / columns)
    values = {label.partition(", ")[0] for label in labels}
    inches = width or max(5.4, 2.8 * columns)
    figure = new_figure(inches, 1.3 + min(2.4, 0.86 * inches / columns) * rows)
    grid = figure.subplots(rows, columns, sharex=True, sharey="all" if len(values) == 1 else "row", squeeze=False)
    styles = line_styles([one.name for one in summary.strategies])
    for axes, label in zip(grid.ravel(), labels, strict=False):
        for one in summary.strategies:
            draw_band(axes, one.regret[label], styles[one.name], label=one.name, alpha=0.07 * has_bands(summary))
        axes.set_title(_question(label, summary.units, is_short=len(values) == 1))
        evaluations_axis(axes, summary.budget, digits=(1,))
        axes.set_xlabel("")
    for axes in grid.ravel()[len(labels) :]:
        axes.set_axis_off()
    for axes, label in zip(grid.ravel(), labels, strict=False):
        top = highest_regret(summary, label)
        axes.set_ylim(-0.02 * (top or 1.0), 1.05 * (top or 1.0))
    figure.supxlabel(EVALUATIONS)
    what = f"{with_unit(values.pop(), summary.units)}: " if len(values) == 1 else ""
    best = "there is" if summary.is_exact else "known"
    label = wrapped(f"{what}distance from the best {best}", 0.9 * figure.get_figheight())
    figure.supylabel(label, multialignment="center")
    handles, names = grid[0, 0].get_legend_handles_labels()
    most = max(1, int(inches / 1.6))  # names side by side, so wide that none is cut off
    abreast = ceil(len(names) / ceil(len(names) / most))
    figure.legend(
        handles,
        names,
        title=_footing(summary, inches),
        loc="outside upper center",
        ncols=abreast,
    )
    return figure


def evaluations_to(summary: CompareSummary, width: float | None = None) -> Figure:
    """The number of evaluations after which each strategy reaches a share of the front's hypervolume.

    `width` in inches; without it 7.2.
    """
    inches = width or 7.2
    figure = new_figure(inches, 1.5 + 0.42 * len(summary.strategies))
    axes = figure.add_subplot()
    never, end = (share * summary.budget for share in ((1.1, 1.15) if summary.budget <= FEW else (1.35, 1.5)))
    colors = ("#9ecae1", "#56B4E9", "#0072B2", "#08306b")
    for place, one in enumerate(summary.strategies):
        for step, target in enumerate(TARGETS):
            low, median, high = (min(value, never) for value in one.evaluations_to[target])
            at = place + 0.19 * (step - 1.5)
            label = f"{100 * target:.0f} %" if place == 0 else None
            is_missed = isinf(one.evaluations_to[target][1])
            if is_missed and one.evaluations < summary.budget:  # not for want of a budget
                axes.plot([], [], MARKERS[step], color=colors[step], label=label)
                continue
            axes.plot([low, high], [at, at], color=colors[step], linewidth=1.6, alpha=0.8, solid_capstyle="butt")
            face = "white" if is_missed else colors[step]
            axes.plot(median, at, MARKERS[step], color=colors[step], markerfacecolor=face, markersize=6, label=label)
        if one.evaluations < summary.budget and isinf(one.evaluations_to[TARGETS[-1]][1]):
            side = axes.get_yaxis_transform()
            axes.text(
                1.0,
                place,
                f"ends after {one.evaluations:g} ",
                transform=side,
                ha="right",
                va="center",
                fontsize="small",
            )
    axes.axvspan(summary.budget, end, color="#f2f2f2", zorder=0)
    axes.set_yticks(range(len(summary.strategies)), [one.name for one in summary.strategies])
    axes.set_ylim(len(summary.strategies) - 0.4, -0.6)
    axes.grid(axis="y", visible=False)
    axes.tick_params(axis="y", length=0)
    for place in range(1, len(summary.strategies)):
        axes.axhline(place - 0.5, color="#e6e6e6", linewidth=0.7)
    evaluations_axis(axes, summary.budget)
    first = min(one.evaluations_to[target][0] for one in summary.strategies for target in TARGETS)
    is_linear = summary.budget <= FEW  # the marker at 1 is to be seen whole
    axes.set_xlim(1 - 0.03 * end if is_linear else max(0.9, 0.7 * min(first, summary.budget / 4)), end)
    axes.set_xticks([tick for tick in axes.get_xticks() if 1 <= tick <= summary.budget])
    label = f"not within {summary.budget:,}"
    axes.annotate(label, (1.0, 1.0), xycoords="axes fraction", ha="right", va="bottom", fontsize="small")
    spread = " (median, 10-90 %)" if len(summary.seeds) > 1 else ""
    label = f"evaluations to a share of the {summary.whole}{spread}"
    axes.set_xlabel(wrapped(label, 0.75 * inches))
    handles, labels = axes.get_legend_handles_labels()
    full = [dot(colors[step], MARKERS[step]) for step in range(len(handles))]
    figure.legend(
        full,
        labels,
        title=_footing(summary, inches),
        loc="outside upper left",
        ncols=len(TARGETS) if inches > 4 else len(TARGETS) // 2,
    )
    return figure


def _footing(summary: CompareSummary, inches: float) -> str | None:
    """The note below the pictures, broken into lines of so many inches."""
    found = footing(summary)
    return found and wrapped(found, inches)


def _question(label: str, units: Mapping[str, str], is_short: bool) -> str:
    value, _, budget = label.partition(", ")
    budget = spelled(budget).replace("<=", "≤").replace(">=", "≥")
    return budget if budget and is_short else f"{with_unit(value, units)}{', ' if budget else ''}{budget}"
