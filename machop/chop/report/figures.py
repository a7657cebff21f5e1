"""Draws a search for a paper: the front, its history, the bits of each layer along the front (the extra `plots`)."""

from __future__ import annotations

import io
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from chop.errors import ChopError
from chop.record.folder import SearchFolder
from chop.report import compare_plots
from chop.report.html.pages import comparison_in
from chop.report.html.search_data import search_data
from chop.tools.extras import install_command
from chop.tools.files import write_whole

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

KINDS = ("pdf", "svg", "png")
SIZES = {"single": (3.35, 2.5), "double": (7.0, 3.6)}
"""Inches of a figure in one column, and across both, of a paper in two columns."""

SETTINGS: Any = {
    "font.size": 8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e6e6e6",
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "legend.fontsize": 7,
    "lines.linewidth": 1.2,
    "pdf.fonttype": 42,
    "svg.hashsalt": "chop",
}
CLOUD, FRONT, EXACT, BASELINE, BOUND = "#b5bcc4", "#0072B2", "#009E73", "#D55E00", "#B3005E"
MOST_LAYERS, MOST_NETWORKS = 40, 24


def write_figures(folder: Path, target: Path) -> list[Path]:
    """Write the figures of the search in `folder` into the folder `target`, as PDF, SVG and PNG, in two sizes.

    Of a comparison, its pictures.

    Raises ChopError without matplotlib, and SearchError for a search that has not ended.
    """
    if find_spec("matplotlib") is None:
        raise ChopError(f"pictures need the package matplotlib: {install_command('plots')}")
    import matplotlib

    if not SearchFolder(folder).holds_search:
        drawn = compare_plots.figures(comparison_in(folder).summary)
        return [write_whole(target / f"{name}.{kind}", _rendered(own, kind)) for name, own in drawn for kind in KINDS]
    data = search_data(SearchFolder(folder))
    written = []
    with matplotlib.rc_context(SETTINGS):
        for size, inches in SIZES.items():
            for name, figure in _figures(data, inches):
                for kind in KINDS:
                    written.append(write_whole(target / f"{name}_{size}.{kind}", _rendered(figure, kind)))
    return written


def _figures(data: dict[str, Any], inches: tuple[float, float]) -> Iterator[tuple[str, Figure]]:
    from matplotlib.figure import Figure

    for name, draw in (("front", _front), ("history", _history), ("formats", _formats)):
        figure = Figure(figsize=inches, layout="constrained")
        if draw(figure.add_subplot(), data):
            yield name, figure


def _rendered(figure: Figure, kind: str) -> bytes:
    buffer = io.BytesIO()
    metadata = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}.get(kind)
    figure.savefig(buffer, format=kind, dpi=300, metadata=metadata)
    return buffer.getvalue()


def _axes_of(data: dict[str, Any]) -> tuple[str, str] | None:
    """The metrics across and up: the second objective and the first, or another metric where there is one objective."""
    goals = [own["metric"] for own in data["goals"]["objectives"]]
    others = [own["name"] for own in data["metrics"] if own["name"] not in goals]
    return ((goals + others)[1], goals[0]) if len(goals + others) > 1 else None


def _titled(data: dict[str, Any], name: str) -> str:
    unit = next((own["unit"] for own in data["metrics"] if own["name"] == name), "")
    plain = name.replace("_", " ")
    return f"{plain} [{unit}]" if unit else plain


def _front(axes: Axes, data: dict[str, Any]) -> bool:
    pair = _axes_of(data)
    if pair is None:
        return False
    across, up = pair
    metrics = {name: np.array(data["trials"]["metrics"][name], np.float64) for name in pair}
    count = len(data["trials"]["number"])
    axes.scatter(
        metrics[across],
        metrics[up],
        s=4,
        alpha=0.6,
        color=CLOUD,
        linewidths=0,
        label=f"{count:,} networks",
        rasterized=True,
    )
    rows = sorted((row for row in data["front"] if across in row["metrics"]), key=lambda row: row["metrics"][across])
    x, y = ([row["metrics"][name] for row in rows] for name in pair)
    if data["exact"]:
        exact = sorted((own["metrics"][across], own["metrics"][up]) for own in data["exact"])
        axes.plot(*zip(*exact, strict=True), "--", color=EXACT, label="exact front", zorder=2.5)
    axes.plot(x, y, "o-", color=FRONT, markersize=3, label="front", zorder=3)
    _intervals(axes, rows, across, up)
    for constraint in data["goals"]["constraints"]:
        if constraint["metric"] in pair:
            line = axes.axvline if constraint["metric"] == across else axes.axhline
            line(constraint["bound"], color=BOUND, linestyle=":", linewidth=1, label=constraint["text"])
    _baselines(axes, data, across, up)
    axes.set_xlabel(_titled(data, across))
    axes.set_ylabel(f"{_titled(data, up)} (validation)")
    inches = axes.get_window_extent().width / axes.figure.dpi
    axes.figure.legend(loc="outside upper left", ncols=2 if inches < 5 else 4)
    return True


def _intervals(axes: Axes, rows: list[dict[str, Any]], across: str, up: str) -> None:
    tested = [(row["metrics"][across], *row["test"][up]) for row in rows if up in row["test"]]
    known = [own for own in tested if None not in own]
    if known:
        x, value, low, high = np.array(known, np.float64).T
        axes.errorbar(
            x,
            value,
            [value - low, high - value],
            fmt="_",
            color=FRONT,
            alpha=0.6,
            markersize=4,
            linewidth=0.8,
            label="test set, 95 %",
        )


def _baselines(axes: Axes, data: dict[str, Any], across: str, up: str) -> None:
    """A baseline as a cross, or as a line at its height where it is far to the side of all networks."""
    left, right = axes.get_xlim()
    for row in data["baselines"]:
        if across in row["metrics"] and up in row["metrics"]:
            x, y = row["metrics"][across], row["metrics"][up]
            if left - (right - left) < x < right + (right - left):
                axes.plot(x, y, "x", color=BASELINE, label=row["name"])
            else:
                axes.axhline(y, color=BASELINE, linestyle=(0, (1, 2)), label=f"{row['name']} ({x:.4g})")


def _history(axes: Axes, data: dict[str, Any]) -> bool:
    history = data["history"]
    values = history.get("hypervolume") or next(iter(history.get("best", {}).values()), None)
    if not values or len(values) < 2:
        return False
    axes.step(history["evaluations"], np.array(values, np.float64), where="post", color=FRONT)
    axes.set_xlabel("evaluations")
    axes.set_ylabel("hypervolume" if history.get("hypervolume") else next(iter(history["best"])))
    return True


def _formats(axes: Axes, data: dict[str, Any]) -> bool:
    """The bits of weights and activations of each layer, network after network along the front."""
    pair = _axes_of(data)
    rows = sorted(data["front"], key=lambda row: row["metrics"].get(pair[0] if pair else "", 0))
    rows = [rows[place] for place in np.unique(np.linspace(0, len(rows) - 1, MOST_NETWORKS).round().astype(int))]
    slots = list(dict.fromkeys((n, o) for row in rows for n, cells in row["cells"].items() for o in cells))[
        :MOST_LAYERS
    ]
    if not slots:
        return False
    table = np.full((len(slots), len(rows)), np.nan)
    for column, row in enumerate(rows):
        for line, (node, operand) in enumerate(slots):
            bits = row["cells"].get(node, {}).get(operand, (None, None))[1]
            table[line, column] = np.nan if bits is None else bits
    image = axes.imshow(np.log2(np.maximum(table, 1)), aspect="auto", cmap="viridis", vmin=0, vmax=5)
    if table.size <= 200:
        for line, column in np.argwhere(np.isfinite(table)).tolist():
            colour = "white" if table[line, column] < 8 else "black"
            axes.text(column, line, f"{table[line, column]:g}", ha="center", va="center", fontsize=6, color=colour)
    axes.set_yticks(
        range(len(slots)), [f"{node} {OPERANDS.get(operand, operand)}" for node, operand in slots], fontsize=6
    )
    axes.set_xticks(range(len(rows)), [str(row["trial"]) for row in rows], fontsize=6, rotation=90)
    axes.set_xlabel("trial, along the front")
    axes.grid(visible=False)
    bar = axes.figure.colorbar(image, ax=axes)
    bar.set_ticks([0, 1, 2, 3, 4, 5], labels=["1", "2", "4", "8", "16", "32"])
    bar.set_label("bits")
    return True


OPERANDS = {"data_in": "act", "weight": "w"}
