"""How formats round, saturate, and share an exponent in blocks."""

from __future__ import annotations

from typing import Any

import torch
from pictures.pages import Rows, table
from pictures.style import BLUE, INK, MUTED, ORANGE, SKY, new_figure
from torch import Tensor

from chop.formats import FORMATS, Format

PAGE = "concepts/number_formats.md"
NEAREST = FORMATS["integer"].from_keys({"width": 4, "frac_width": 2})
DOWN = FORMATS["integer_floor"].from_keys({"width": 4, "frac_width": 2})
MINIFLOAT = FORMATS["minifloat_ieee"].from_keys({"width": 4, "exponent_width": 2, "exponent_bias": 2})
SIXTEEN = torch.tensor(
    [0.31, -0.12, 0.22, 0.05, -0.27, 0.18, -0.36, 0.09, 0.21, -0.33, 1.62, 0.14, -0.24, 0.38, -0.08, 0.29]
)
"""Sixteen weights, one of which is far greater than the others."""


def block_fp(length: int) -> Format:
    """Block floating point of 4 bits with blocks of this length."""
    return FORMATS["block_fp"].from_keys({"width": 4, "exponent_width": 8, "block_size": [length]})


def staircases() -> Any:
    """Rounding to nearest and down near zero, and saturation."""
    figure, (near, far) = new_figure(2.9, columns=2)
    _stairs(near, 0.62, [(NEAREST, BLUE, "integer"), (DOWN, ORANGE, "integer_floor")])
    ties = torch.tensor([-0.375, -0.125, 0.125, 0.375])
    near.plot(ties, NEAREST.quantize(ties), "o", color=BLUE, markersize=4.5)
    near.set(title="Rounding", xticks=[-0.5, -0.25, 0, 0.25, 0.5], yticks=[-0.5, -0.25, 0, 0.25, 0.5])
    _stairs(far, 3.9, [(NEAREST, BLUE, "integer"), (MINIFLOAT, ORANGE, "minifloat")])
    far.set(title="Saturation", xticks=[-3, -2, -1, 0, 1, 2, 3], yticks=[-3, -2, -1, 0, 1, 2, 3])
    for axes in (near, far):
        axes.set_xlabel("value before")
        axes.legend(loc="upper left", fontsize=8, handlelength=1.4, borderaxespad=0.1)
    near.set_ylabel("value in the format")
    return figure


def _stairs(axes: Any, reach: float, formats: list[tuple[Format, str, str]]) -> None:
    """The results of formats from -reach to reach, with the line of exact values."""
    x = torch.linspace(-reach, reach, 4001, dtype=torch.float64)
    axes.plot([-reach, reach], [-reach, reach], color=MUTED, linewidth=0.8, linestyle=(0, (3, 3)))
    for (chosen, colour, label), width in zip(formats, (2.2, 1.2), strict=True):
        axes.plot(*_corners(x, chosen.quantize(x)), color=colour, linewidth=width, label=label)
    axes.set(xlim=(-reach, reach), ylim=(-reach, reach), aspect="equal")
    axes.grid(linewidth=0.6)


def _corners(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """The points of a staircase at which it turns, and its ends."""
    is_turn = torch.ones(len(x), dtype=torch.bool)
    is_turn[1:-1] = (y[1:-1] != y[:-2]) | (y[1:-1] != y[2:])
    return x[is_turn], y[is_turn]


def blocks() -> Any:
    """Sixteen weights with one exponent, and with one for each eight."""
    figure, panels = new_figure(4.4, rows=2, sharex=True)
    for axes, length, title in zip(panels, (16, 8), ("One block of 16 weights", "Two blocks of 8"), strict=True):
        chosen = block_fp(length)
        rounded = chosen.quantize(SIXTEEN)
        for start in range(0, 16, length):
            values = chosen.values(SIXTEEN[start : start + length])
            assert values is not None
            span = [start - 0.5, start + length - 0.5]
            axes.hlines(values, *span, color=SKY, linewidth=0.7, zorder=0)
            axes.axvline(span[1], color=MUTED, linewidth=0.8)
        numbers = torch.arange(16)
        axes.vlines(numbers, SIXTEEN, rounded, color=INK, linewidth=1.2)
        axes.plot(numbers, SIXTEEN, "o", color=INK, markersize=4.5, label="weight")
        axes.plot(numbers, rounded, "D", color=ORANGE, markersize=4.5, label="weight in the format")
        axes.set(title=title, ylim=(-0.85, 1.85), xlim=(-0.5, 15.5), ylabel="value")
        axes.set_xticks([])
    panels[0].legend(loc="upper left", fontsize=8)
    panels[1].set_xlabel("the weights; lines: the values that their block can take")
    return figure


def block_table() -> Rows:
    """Blocks of several lengths: bits and error."""
    rows = []
    for length in (16, 8, 4, 2):
        chosen = block_fp(length)
        parts = [chosen.values(part) for part in SIXTEEN.reshape(-1, length)]
        steps = sorted({float(values.diff().min()) for values in parts if values is not None}, reverse=True)
        rounded = chosen.quantize(SIXTEEN)
        error = float((rounded - SIXTEEN).norm() / SIXTEEN.norm())
        rows.append(
            [
                length,
                f"{chosen.bits((16,)) / 16:g}",
                ", ".join(f"{step:g}" for step in steps),
                int((rounded == 0).sum()),
                f"{error:.1%}",
            ]
        )
    head = ["weights in a block", "bits a weight", "steps", "weights that become 0", "relative error"]
    return table(head, rows)


PICTURES = {"formats_rounding": staircases, "formats_blocks": blocks}
TABLES = {"blocks": block_table}
