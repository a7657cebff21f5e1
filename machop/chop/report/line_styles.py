"""Chooses a colour and dashes for each strategy, the same in every picture and report."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

Style = dict[str, Any]
COLORS = {
    "tpe": "#0072B2",
    "nsgaii": "#56B4E9",
    "evolution": "#009E73",
    "greedy": "#CC79A7",
    "sensitivity": "#E69F00",
    "surrogate": "#D55E00",
}
"""Okabe and Ito's colours, told apart also by those who do not see all, the same in every report."""

OTHERS = ("#000000", "#7F3C8D", "#8C6D31", "#17807E")

BASELINES: dict[str, dict[str, Any]] = {
    "brute_force": {"color": "#9a9a9a", "linestyle": (0, (1, 1.2))},
    "brute_force_random": {"color": "#6b6b6b", "linestyle": (0, (4, 1.5))},
    "uniform": {"color": "#6b6b6b", "linestyle": (0, (5, 1.2, 1, 1.2))},
    "random": {"color": "#a8a8a8", "linestyle": "solid", "linewidth": 3.4},
}
WIDE = 2.2
"""Width of the lines of baselines, which lie below the others and are seen beside them where runs begin alike."""

LINES: tuple[Any, ...] = ("solid", (0, (4, 3)), (0, (3, 2)), (0, (7, 2, 1.5, 2)), (0, (1.5, 1.5)), (0, (6, 4)))
"""Dashes, by the place of a strategy in `COLORS`: those above leave gaps for those below, so that the
solid line is the lowest."""


def line_styles(strategies: Sequence[str]) -> dict[str, Style]:
    """A colour and a dash pattern by strategy; baselines are grey."""
    learning = [name for name in strategies if name not in BASELINES]
    styles: dict[str, Style] = {name: {"linewidth": WIDE, **style} for name, style in BASELINES.items()}
    known = [*COLORS, *(name for name in learning if name not in COLORS)]
    colors = [*COLORS.values(), *(OTHERS[place % len(OTHERS)] for place in range(len(known) - len(COLORS)))]
    for place, (name, color) in enumerate(zip(known, colors, strict=True)):
        dashes = LINES[place] if place < len(LINES) else LINES[1 + (place - len(LINES)) % (len(LINES) - 1)]
        styles[name] = {"color": color, "linestyle": dashes, "zorder": 3 + place / 100}
    return styles
