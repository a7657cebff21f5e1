"""Draws pictures with matplotlib (the extra `plots`), for papers and for notebooks without plotly."""

from __future__ import annotations

from collections.abc import Sequence
from textwrap import fill
from typing import TYPE_CHECKING, Any

import matplotlib
import numpy as np
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure

from chop.report.figure_text import figure_text
from chop.report.plots.broken_names import broken
from chop.report.plots.colours import (
    BIT_TICKS,
    BITS_SCALE,
    COLOURS,
    CORRELATION_SCALE,
    FRONT,
    OTHERS,
    ink_on,
    octaves,
)
from chop.report.plots.matplotlib_curves import draw_curves, size
from chop.report.plots.matplotlib_settings import FOR_PAPERS, rendered
from chop.report.plots.pictures import Bars, Curves, HeatMap, Parallel, Picture, Points, Scatter, Steps

if TYPE_CHECKING:
    from matplotlib.axes import Axes

WIDE = (7.0, 3.6)
MOST_CELLS_WITH_TEXT = 200
MOST_ROWS, MOST_LINES = 40, 2_000
MOST_COLUMNS = 4
HANDLE, LETTER = 0.5, 0.062
"""Inches of a legend that an entry takes beside its text, and that a letter takes."""

TICK_LETTER, TICK_LINE = 0.048, 0.1
"""Inches that a letter of the smallest text takes across, and a line of it up."""

NAMES = 0.42
"""The share of the width of a picture that its row names may take; longer ones are broken into lines."""

LEAST_SCATTER, LEGEND_LINE = 1.6, 0.14
"""Inches up of a scatter picture without its legend, at the least, and of a line of that legend."""

CELL = 0.42
"""Inches of the narrowest cell of a heat map in its own size."""

LEAST_LETTERS = 10
"""Letters of the title of an axis, below which it is written upwards."""

LABEL_SIZE = (16.0, 8.0)
"""Width and height, in points of print, that are left to the label of a point."""


class DrawnFigure(Figure):
    """A figure that a notebook shows although pyplot knows nothing of it."""

    def _repr_png_(self) -> bytes:
        return rendered(self, "png", 110)


def drawn(picture: Picture, inches: tuple[float, float] | None = None) -> Figure:
    """The picture as a figure of matplotlib; in its own size, points of the front have the numbers of their trials."""
    with matplotlib.rc_context(FOR_PAPERS):
        figure = DrawnFigure(figsize=_with_room(picture, inches or _size(picture)), layout="constrained")
        match picture:
            case Scatter():
                _scatter(figure.add_subplot(), picture, inches is None)
            case Steps():
                _steps(figure, picture)
            case Parallel():
                _parallel(figure.add_subplot(), picture)
            case HeatMap():
                _heat_map(figure.add_subplot(), picture)
            case Bars():
                _bars(figure, picture)
            case Curves():
                draw_curves(figure, picture)
    return figure


def _size(picture: Picture) -> tuple[float, float]:
    """Inches that suit what a picture holds."""
    match picture:
        case HeatMap():
            letters = max(len(text) for line in picture.texts for text in line)
            cells = max(CELL, 0.1 + TICK_LETTER * letters) * len(picture.columns)
            names = TICK_LETTER * max(map(len, picture.rows))
            return (
                min(12.0, (1.1 + cells) + min(names, (1.1 + cells) * NAMES / (1 - NAMES))),
                min(9.0, 1.2 + 0.26 * len(picture.rows)),
            )
        case Bars():
            return (6.4, 0.4 + sum(0.7 + 0.2 * len(rows) for _, rows in picture.panels))
        case Steps():
            return (6.4, 0.6 + 1.8 * len(picture.panels))
        case Parallel():
            return (min(14.0, 2.0 + 0.8 * len(picture.axes)), 4.0)
        case Curves():
            return size(picture)
        case Scatter():
            return (6.4, 4.2)


def _with_room(picture: Picture, inches: tuple[float, float]) -> tuple[float, float]:
    """A size that is high enough for the names of all rows, which may be broken into several lines."""
    width, height = inches
    match picture:
        case HeatMap():
            lines = [name.count("\n") + 1 for name in _row_names(picture.rows[:MOST_ROWS], width)]
            below = TICK_LETTER * max(map(len, picture.columns))
            needed = 0.7 + below + len(lines) * (0.05 + TICK_LINE * max(lines))
        case Scatter():
            labels = [*(own.name for own in picture.points), *(own.name for own in picture.bounds)]
            *_, legend = _fitted(labels, width)
            needed = LEAST_SCATTER + LEGEND_LINE * legend
        case Bars():
            names = [name for _, rows in picture.panels for name, _ in rows]
            lines = [name.count("\n") for name in _row_names(names, width)]
            needed = 0.4 + 0.7 * len(picture.panels) + len(names) * (0.2 + TICK_LINE * max(lines))
        case _:
            needed = height
    return (width, max(height, needed))


def _row_names(names: Sequence[str], width: float) -> list[str]:
    return [broken(name, int(NAMES * width / TICK_LETTER)) for name in names]


def _room(axes: Axes) -> tuple[float, float]:
    """Inches of the whole figure of some axes, across and up."""
    figure = axes.get_figure(root=True)
    assert figure is not None
    width, height = figure.get_size_inches()
    return float(width), float(height)


def _scatter(axes: Axes, picture: Scatter, is_labelled: bool) -> None:
    for own in picture.points:
        _points(axes, own)
    for bound in picture.bounds:
        line = axes.axvline if bound.axis == "x" else axes.axhline
        line(bound.value, color=COLOURS[bound.role], linestyle=":", linewidth=1, label=bound.name)
    if is_labelled:
        _label(axes, picture)
    width, height = _room(axes)
    axes.set_xlabel(broken(picture.x_title, int(0.8 * width / LETTER)))
    axes.set_ylabel(broken(picture.y_title, int(0.55 * height / LETTER)))
    handles, labels = axes.get_legend_handles_labels()
    texts, columns, _ = _fitted(labels, width)
    axes.figure.legend(handles, texts, loc="outside upper left", ncols=columns)


def _fitted(labels: Sequence[str], inches: float) -> tuple[list[str], int, int]:
    """The labels of a legend, broken to fit into a width, the number of columns with fewest lines, and these lines."""
    found: list[tuple[int, int, list[str]]] = []
    for columns in range(1, MOST_COLUMNS + 1):
        letters = int((inches / columns - HANDLE) / LETTER)
        texts = [fill(label, letters, break_long_words=False) if letters > 0 else label for label in labels]
        if columns == 1 or max(len(line) for text in texts for line in text.splitlines()) <= letters:
            heights = [sum(text.count("\n") + 1 for text in part) for part in np.array_split(texts, columns)]
            found.append((max(heights), -columns, texts))
    lines, columns, texts = min(found)
    return texts, -columns, lines


def _label(axes: Axes, picture: Scatter) -> None:
    """Write the labels beside their points, without those that would lie on an earlier one."""
    axes.autoscale_view()  # else the places are those of the limits before
    taken: list[tuple[float, float]] = []
    for own in picture.points:
        place = _empty_side(own)
        for x, y, text in zip(own.x, own.y, own.labels, strict=False):
            across, up = (float(place) * 72 / axes.figure.dpi for place in axes.transData.transform((x, y)))
            if all(abs(across - a) >= LABEL_SIZE[0] or abs(up - b) >= LABEL_SIZE[1] for a, b in taken):
                taken.append((across, up))
                axes.annotate(text, (x, y), fontsize=6, color=COLOURS[own.role], **place)


def _empty_side(own: Points) -> dict[str, Any]:
    """Where labels lie beside no line of their points: above to the left of one that rises, else above to the right."""
    is_rising = bool(own.line) and (own.x[-1] - own.x[0]) * (own.y[-1] - own.y[0]) > 0
    across = -3 if is_rising else 3
    return {"xytext": (across, 3), "textcoords": "offset points", "ha": "right" if is_rising else "left"}


def _points(axes: Axes, own: Points) -> None:
    colour = COLOURS[own.role]
    if own.low:
        values = own.x if own.is_across else own.y
        reach = [np.subtract(values, own.low), np.subtract(own.high, values)]
        bars: Any = {"fmt": "|", "xerr": reach} if own.is_across else {"fmt": "_", "yerr": reach}
        axes.errorbar(own.x, own.y, color=colour, alpha=0.6, markersize=4, linewidth=0.8, label=own.name, **bars)
    elif own.role in ("cloud", "violating"):
        look: Any = {"color": colour, "linewidths": 0}
        if own.role == "violating":
            look = {"facecolors": "none", "edgecolors": colour, "linewidths": 0.5}
        axes.scatter(own.x, own.y, s=6, alpha=0.6, label=own.name, rasterized=True, zorder=2, **look)
    else:
        dashes, marker = ("--", "") if own.role == "exact" else ("-", "o")
        style = f"{marker}{dashes}" if own.line else "x" if own.role == "baseline" else "."
        axes.plot(own.x, own.y, style, color=colour, markersize=3, label=own.name, zorder=3)


def _steps(figure: Figure, picture: Steps) -> None:
    panels = figure.subplots(len(picture.panels), sharex=True, squeeze=False)[:, 0]
    for axes, (title, values) in zip(panels, picture.panels, strict=True):
        axes.step(picture.x, values, where="post", color=FRONT)
        axes.set_ylabel(broken(title, int(0.75 * _room(axes)[1] / len(panels) / LETTER)))
    panels[-1].set_xlabel(picture.x_title)


def _parallel(axes: Axes, picture: Parallel) -> None:
    """Lines across the axes, each axis scaled to its own range; of very many networks an even choice."""
    step = max(1, -(-len(picture.axes[0].values) // MOST_LINES))
    places = []
    for place, own in enumerate(picture.axes):
        values = np.array(own.values, np.float64)[::step]
        low, high = (0, len(own.ticks) - 1) if own.ticks else (np.nanmin(values), np.nanmax(values))
        places.append((values - low) / ((high - low) or 1))
        ends = [*enumerate(own.ticks)] if own.ticks else [(low, figure_text(low)), (high, figure_text(high))]
        for value, text in ends:
            axes.text(place, (value - low) / ((high - low) or 1), f" {text}", fontsize=6, va="center")
    table = np.stack(places, 1)
    table = table[np.argsort(table[:, picture.colour])]
    shades = matplotlib.colormaps["viridis"](table[:, picture.colour])
    lines = [np.column_stack([np.arange(len(line)), line]) for line in table]
    axes.add_collection(LineCollection(lines, colors=shades, alpha=0.35, linewidths=0.7))
    axes.set_xlim(0, len(picture.axes) - 0.7)
    axes.set_ylim(-0.03, 1.03)
    letters = int(0.85 * _room(axes)[0] / len(picture.axes) / TICK_LETTER)
    is_flat = letters >= LEAST_LETTERS
    titles = [broken(own.title, letters if is_flat else 3 * LEAST_LETTERS) for own in picture.axes]
    axes.set_xticks(range(len(titles)), titles, rotation=0 if is_flat else 90, fontsize=6)
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)
    axes.grid(axis="x", color="#888888")
    axes.set_title(f"colour: {picture.axes[picture.colour].title}", fontsize=7, loc="left")


def _heat_map(axes: Axes, picture: HeatMap) -> None:
    rows = picture.rows[:MOST_ROWS]
    values = np.array(picture.values, np.float64)[: len(rows)]
    is_bits = picture.scale == "bits"
    shown = np.vectorize(octaves)(values) if is_bits else values
    scale: dict[str, Any] = (
        {"cmap": BITS_SCALE, "vmin": 0, "vmax": 5} if is_bits else {"cmap": CORRELATION_SCALE, "vmin": -1, "vmax": 1}
    )
    image = axes.imshow(shown, aspect="auto", **scale)
    if values.size <= MOST_CELLS_WITH_TEXT:
        for line, column in np.argwhere(np.isfinite(values)).tolist():
            ink = ink_on(tuple(image.to_rgba(shown[line, column])))
            axes.text(column, line, picture.texts[line][column], ha="center", va="center", fontsize=6, color=ink)
    axes.set_yticks(range(len(rows)), _row_names(rows, _room(axes)[0]), fontsize=6)
    turned = 90 if max(map(len, picture.columns)) > 2 else 0
    axes.set_xticks(range(len(picture.columns)), picture.columns, fontsize=6, rotation=turned)
    axes.set_xlabel(picture.x_title)
    axes.grid(visible=False)
    bar = axes.figure.colorbar(image, ax=axes)
    if is_bits:
        bar.set_ticks([octaves(bits) for bits in BIT_TICKS], labels=[str(bits) for bits in BIT_TICKS])
        bar.set_label("bits")


def _bars(figure: Figure, picture: Bars) -> None:
    heights = [len(rows) for _, rows in picture.panels]
    panels = figure.subplots(len(heights), sharex=True, squeeze=False, height_ratios=heights)[:, 0]
    for axes, (title, rows) in zip(panels, picture.panels, strict=True):
        colours = [FRONT] * (len(rows) - 1) + [OTHERS]
        axes.barh(_row_names([name for name, _ in rows], _room(axes)[0]), [share for _, share in rows], color=colours)
        axes.invert_yaxis()
        axes.set_title(title, fontsize=8, loc="left")
        axes.tick_params("y", labelsize=6)
        axes.grid(axis="y", visible=False)
    panels[-1].set_xlabel(picture.x_title)
    figure.supxlabel(picture.note, fontsize=6)
