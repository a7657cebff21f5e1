"""The values of every number format: at four bits on a line, at eight bits counted by octave."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from pictures.pages import Rows, table
from pictures.style import BLUE, GREEN, GRID, MUTED, ORANGE, PURPLE, blues, new_figure, write_in_cell
from torch import Tensor

from chop.formats import FORMATS, Format

PAGE = "concepts/number_formats.md"
LARGEST = 1.7
"""The greatest magnitude of the tensor that is rounded, for formats that measure it or share an exponent."""

FOUR_BITS: Mapping[str, Mapping[str, Any]] = {
    "integer": {"width": 4, "frac_width": 2},
    "integer_floor": {"width": 4, "frac_width": 2},
    "scale_integer": {"width": 4},
    "block_fp": {"width": 4, "exponent_width": 8, "block_size": [-1]},
    "mxint": {"element_bits": 4, "block_size": [-1]},
    "minifloat_ieee": {"width": 4, "exponent_width": 2, "exponent_bias": 3},
    "minifloat_denorm": {"width": 4, "exponent_width": 2, "exponent_bias": 1},
    "block_minifloat": {"width": 4, "exponent_width": 2, "exponent_bias_width": 8, "block_size": [-1]},
    "mxfp": {"element_exp_bits": 2, "element_frac_bits": 1, "block_size": [-1]},
    "log": {"width": 4, "exponent_bias": 6},
    "block_log": {"width": 4, "exponent_bias_width": 8, "block_size": [-1]},
    "ternary": {"scaling_factor": True},
    "binary": {"scaled": True},
}
"""Every format: with four bits a value, binary and ternary with their own one and two."""

EIGHT_BITS: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "integer 8b/6f": ("integer", {"width": 8, "frac_width": 6}),
    "scale_integer": ("scale_integer", {"width": 8}),
    "block_fp": ("block_fp", {"width": 8, "exponent_width": 8, "block_size": [-1]}),
    "mxint": ("mxint", {"element_bits": 8, "block_size": [-1]}),
    "minifloat e2m5": ("minifloat_ieee", {"width": 8, "exponent_width": 2, "exponent_bias": 3}),
    "minifloat e3m4": ("minifloat_ieee", {"width": 8, "exponent_width": 3, "exponent_bias": 7}),
    "minifloat e4m3": ("minifloat_ieee", {"width": 8, "exponent_width": 4, "exponent_bias": 15}),
    "denorm e4m3": ("minifloat_denorm", {"width": 8, "exponent_width": 4, "exponent_bias": 14}),
    "mxfp e5m2": ("mxfp", {"element_exp_bits": 5, "element_frac_bits": 2, "block_size": [-1]}),
    "log": ("log", {"width": 8, "exponent_bias": 126}),
}
"""Formats of eight bits whose greatest values are alike; `e4m3`: 4 bits of exponent, 3 of mantissa."""

OCTAVES = range(0, -9, -1)
FAMILIES = {
    "equal steps": (BLUE, ("integer", "integer_floor", "scale_integer", "block_fp", "mxint")),
    "equal steps within each octave": (ORANGE, ("minifloat_ieee", "minifloat_denorm", "block_minifloat", "mxfp")),
    "powers of two": (GREEN, ("log", "block_log")),
    "two or three values": (PURPLE, ("ternary", "binary")),
}


def tensor() -> Tensor:
    """Normal weights, `(1024,)`, the greatest of magnitude 1.7."""
    drawn = torch.randn(1024, generator=torch.Generator().manual_seed(0))
    return drawn * (LARGEST / drawn.abs().max())


def made(name: str, keys: Mapping[str, Any]) -> Format:
    """The format of these keys, measured on the weights."""
    return FORMATS[name].from_keys(keys).calibrated(tensor())


def values_of(chosen: Format) -> Tensor:
    """All values that the weights can take, sorted."""
    found = chosen.values(tensor())
    assert found is not None
    return found


def number_lines() -> Any:
    """Every format's values at four bits, each on a line."""
    figure, axes = new_figure(5.6)
    for place, (name, keys) in enumerate(FOUR_BITS.items()):
        (colour,) = (colour for colour, names in FAMILIES.values() if name in names)
        axes.plot([-2.1, 2.1], [place, place], color=GRID, linewidth=0.8, zorder=1)
        axes.plot(values_of(made(name, keys)), [place] * len(values_of(made(name, keys))), "|", color=colour, **TICK)
    axes.axvline(0, color=MUTED, linewidth=0.6, zorder=0)
    for side in (-LARGEST, LARGEST):
        axes.axvline(side, color=MUTED, linewidth=0.8, linestyle=(0, (3, 3)), zorder=0)
    axes.set(xlim=(-2.12, 2.12), ylim=(len(FOUR_BITS) - 0.4, -0.6), xlabel="value; dashed: the range of the weights")
    axes.set_yticks(range(len(FOUR_BITS)), list(FOUR_BITS))
    axes.tick_params("y", length=0)
    axes.spines[["left"]].set_visible(False)
    handles = [axes.plot([], [], "|", color=colour, label=label, **TICK)[0] for label, (colour, _) in FAMILIES.items()]
    figure.legend(handles=handles, loc="outside upper center", ncols=2, fontsize=8, handletextpad=0.2)
    return figure


TICK: Mapping[str, Any] = {"markersize": 11, "markeredgewidth": 1.6}


def counts_by_octave(chosen: Format) -> list[int]:
    """How many positive values lie in each octave from [1, 2) down, and below them all."""
    positive = [float(value) for value in values_of(chosen) if value > 0]
    exponents = [math.floor(math.log2(value)) for value in positive]
    return [exponents.count(octave) for octave in OCTAVES] + [sum(e < OCTAVES[-1] for e in exponents)]


def octaves() -> Any:
    """How many of 127 positive values each format spends on each octave."""
    counts = [counts_by_octave(made(name, keys)) for name, keys in EIGHT_BITS.values()]
    figure, axes = new_figure(3.7)
    shades = torch.tensor(counts).double().add(1).log2()
    image = axes.imshow(shades, cmap=blues(), aspect="auto", vmin=0, vmax=7.5)
    for row, numbers in enumerate(counts):
        for column, number in enumerate(numbers):
            write_in_cell(axes, image, (row, column), str(number or "·"))
    names = [f"1/{2**-octave}" if octave else "1" for octave in OCTAVES] + ["less"]
    axes.set_xticks(range(len(names)), names, fontsize=8)
    axes.set_yticks(range(len(counts)), list(EIGHT_BITS))
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    axes.set_xlabel("octave: from this value to twice as much")
    return figure


def settings_text(keys: Mapping[str, Any]) -> str:
    """The keys as a TOML file has them."""
    texts = {True: "true", False: "false"}
    return ", ".join(
        f"`{key} = {texts.get(value, value) if isinstance(value, bool) else value}`" for key, value in keys.items()
    )


def four_bit_table() -> Rows:
    """Values, range and steps of every format of the number lines."""
    rows = []
    for name, keys in FOUR_BITS.items():
        values = values_of(made(name, keys))
        steps = values.diff()
        positive = values[values > 0]
        rows.append(
            [
                f"`{name}`",
                settings_text(keys),
                len(values),
                f"{float(values[0]):.3g} … {float(values[-1]):.3g}",
                f"{float(positive[0]):.3g}",
                f"{float(steps.min()):.3g} … {float(steps.max()):.3g}",
            ]
        )
    head = ["format", "keys", "values", "range", "least positive value", "distance of neighbours"]
    return table(head, rows)


PICTURES = {"formats_values": number_lines, "formats_octaves": octaves}
TABLES = {"four_bits": four_bit_table}
