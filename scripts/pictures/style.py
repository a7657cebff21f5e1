"""How the pictures of the documents look: narrow enough for a phone, on a page of their own in light and in dark."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from chop.report.plots.colours import ink_on

WIDTH = 5.2
"""Inches: with text of 9 points still readable when the picture is as wide as a phone."""

INK, MUTED, GRID, PAGE = "#1f2328", "#57606a", "#d7dde4", "#ffffff"
BLUE, ORANGE, GREEN, PURPLE, SKY, YELLOW = "#0072b2", "#d55e00", "#009e73", "#b65a93", "#56b4e9", "#e69f00"
"""Colours of Okabe and Ito, told apart also by those who do not see all; purple a little darker than theirs."""

ON_SHADES = {"black": "#010101", "white": "#fefefe"}
"""Text on shades, which stays as it is on a dark page: black and white would change there."""

DARK = {
    INK: "#e6edf3",
    MUTED: "#a3adb8",
    GRID: "#303a45",
    PAGE: "#12171e",
    BLUE: "#4fa8e0",
    PURPLE: "#d792bb",
}
"""What stands for a colour where the reader has chosen a dark page; the others can be seen on both."""

FONTS = "'DejaVu Sans', Verdana, sans-serif"


def new_figure(height: float, rows: int = 1, columns: int = 1, **options: Any) -> Any:
    """A figure and its axes, `height` inches high."""
    import matplotlib
    from cycler import cycler

    matplotlib.use("svg")
    matplotlib.rcParams.update(
        {
            "svg.hashsalt": "chop",
            "svg.fonttype": "none",
            "font.family": "DejaVu Sans",
            "font.size": 9,
            "axes.titlesize": 9.5,
            "axes.titlelocation": "left",
            "axes.spines.top": False,
            "axes.spines.right": False,
            "legend.frameon": False,
            "savefig.facecolor": PAGE,
            **dict.fromkeys(("text.color", "axes.labelcolor", "axes.titlecolor"), INK),
            **dict.fromkeys(("xtick.color", "ytick.color", "axes.edgecolor"), MUTED),
            **dict.fromkeys(("xtick.labelcolor", "ytick.labelcolor"), INK),
            "grid.color": GRID,
            "axes.axisbelow": True,
            "axes.prop_cycle": cycler(color=[BLUE, ORANGE, GREEN, PURPLE, SKY, YELLOW]),
        }
    )
    from matplotlib import pyplot as plt

    return plt.subplots(rows, columns, figsize=(WIDTH, height), layout="constrained", **options)


def legend_below(figure: Any, columns: int) -> None:
    """A legend below the axes, where one of many lines covers nothing."""
    figure.legend(loc="outside lower center", ncols=columns)


def whole_ticks(axis: Any, ticks: Sequence[int]) -> None:
    """Numbers at these places of a logarithmic axis, and no smaller ticks."""
    axis.set_ticks(ticks, [f"{tick:,}" for tick in ticks])
    axis.set_ticks([], minor=True)


def blues() -> Any:
    """Shades from light to dark."""
    from matplotlib.colors import LinearSegmentedColormap

    return LinearSegmentedColormap.from_list("", ["#f2f6fa", "#9cc7e6", "#0a4f86"])


def write_in_cell(axes: Any, image: Any, place: tuple[int, int], text: str, **options: Any) -> None:
    """Write a text in the cell `(row, column)` of an image, in the colour that contrasts more with it."""
    row, column = place
    ink = ON_SHADES[ink_on(image.to_rgba(float(image.get_array()[row, column])))]
    axes.text(column, row, text, ha="center", va="center", color=ink, fontsize=8.5, **options)


def save(figure: Any, path: Path) -> None:
    """Write the figure as SVG, its text as text, with colours for a dark page as well."""
    from matplotlib import pyplot as plt

    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Date": None, "Creator": None})
    plt.close(figure)
    text = path.read_text(encoding="utf-8")
    text = re.sub(r"font: (?:(\d+) )?([\d.]+px) 'DejaVu Sans'", _own_font, text)
    text = re.sub(r"(<svg [^>]*>)", lambda found: f"{found[1]}\n <style>{_rules()}</style>", text, count=1)
    path.write_text(text, encoding="utf-8")


def _own_font(found: re.Match[str]) -> str:
    weight = f"font-weight: {found[1]}; " if found[1] else ""
    return f"{weight}font-size: {found[2]}"


def _rules() -> str:
    """The rules for fonts and, under a dark page, for the colours that would not be seen."""
    dark = "".join(
        f'[style*="{kind}: {light}"]{{{kind}:{own}!important}}'
        for light, own in DARK.items()
        for kind in ("fill", "stroke")
    )
    return f"text{{font-family:{FONTS}}}@media(prefers-color-scheme:dark){{{dark}}}"
