"""Errors of formats: against the size of a value, against the width, and on weights of several distributions."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from textwrap import fill
from typing import Any

import torch
from pictures.pages import Rows, table
from pictures.style import BLUE, GREEN, INK, MUTED, ORANGE, PURPLE, blues, new_figure, write_in_cell
from torch import Tensor

from chop.formats import FORMATS, Format
from chop.models import get_model

PAGE = "concepts/number_formats.md"
BLOCKS = {"block_size": [1, 16]}
TOPS = range(-2, 6)
"""Exponents of the greatest values of the formats that are tried."""

SHAPE = (64, 64)
WIDTHS = range(3, 11)
Keys = Mapping[str, Any]

BY_SIZE: Sequence[tuple[str, str, Keys, str, tuple[float, float]]] = (
    ("integer", "integer", {"width": 8, "frac_width": 6}, BLUE, (0.024, 0.26)),
    ("e2m5", "minifloat_ieee", {"width": 8, "exponent_width": 2, "exponent_bias": 3}, PURPLE, (0.0016, 0.62)),
    (
        "minifloat e4m3",
        "minifloat_ieee",
        {"width": 8, "exponent_width": 4, "exponent_bias": 15},
        ORANGE,
        (0.0004, 0.032),
    ),
    ("log", "log", {"width": 8, "exponent_bias": 126}, GREEN, (0.0004, 0.24)),
)
"""Formats of eight bits with about the same greatest value, and where in the picture their names are."""


def splits(width: int) -> range:
    """The exponent widths that are tried for a floating-point value of this width."""
    return range(1, min(width - 1, 6))


def integer_keys(width: int) -> list[Keys]:
    """Fixed point, whose fraction width has the least error."""
    return [{"width": width, "frac_width": "auto", "range_rule": "mse"}]


def scale_keys(width: int) -> list[Keys]:
    """A scale for the whole range, and for shares of the values."""
    return [{"width": width, "range_rule": "quantile", "quantile": share} for share in (1.0, 0.999, 0.99, 0.97)]


def minifloat_keys(width: int) -> list[Keys]:
    """Every exponent width, each with several ranges."""
    pairs = itertools.product(splits(width), TOPS)
    return [{"width": width, "exponent_width": bits, "exponent_bias": 2**bits - 1 - top} for bits, top in pairs]


def log_keys(width: int) -> list[Keys]:
    """Several ranges; more than eight bits would hold more exponents than float32 has."""
    own = min(width, 8)
    return [{"width": own, "exponent_bias": 2 ** (own - 1) - 1 - top} for top in TOPS]


def mxfp_keys(width: int) -> list[Keys]:
    """Every exponent width."""
    return [{"element_exp_bits": bits, "element_frac_bits": width - 1 - bits, **BLOCKS} for bits in splits(width)]


def block_minifloat_keys(width: int) -> list[Keys]:
    """Every exponent width."""
    return [{"width": width, "exponent_width": bits, "exponent_bias_width": 8, **BLOCKS} for bits in splits(width)]


def by_channel(keys: Sequence[Keys]) -> list[Keys]:
    """The same with a range for each channel."""
    return [{**own, "granularity": "channel"} for own in keys]


KINDS: Mapping[str, Callable[[int], Sequence[Keys]]] = {
    "integer": integer_keys,
    "integer, by channel": lambda width: by_channel(integer_keys(width)),
    "integer_floor": integer_keys,
    "scale_integer": scale_keys,
    "scale_integer, by channel": lambda width: by_channel(scale_keys(width)),
    "block_fp": lambda width: [{"width": width, "exponent_width": 8, **BLOCKS}],
    "mxint": lambda width: [{"element_bits": width, **BLOCKS}],
    "minifloat_ieee": minifloat_keys,
    "minifloat_denorm": minifloat_keys,
    "block_minifloat": block_minifloat_keys,
    "mxfp": mxfp_keys,
    "log": log_keys,
    "block_log": lambda width: [{"width": min(width, 8), "exponent_bias_width": 8, **BLOCKS}],
    "ternary": lambda width: [{"scaling_factor": True}],
    "binary": lambda width: [{"scaled": True}],
}
"""For each kind of format the settings of a width, of which the best one is taken."""


def formats_of(kind: str, width: int) -> list[Format]:
    """The formats of a kind and width."""
    name = kind.split(",", maxsplit=1)[0]
    return [FORMATS[name].from_keys(keys) for keys in KINDS[kind](width)]


def relative_error(chosen: Format, x: Tensor) -> float:
    """The root of the mean squared error, as a share of that of the values."""
    return float((chosen.quantize(x) - x).norm() / x.norm())


def least_error(kind: str, width: int, x: Tensor) -> tuple[float, Format]:
    """The least error of a kind of format with this width, and the format that has it."""
    found = [(relative_error(chosen, x), chosen) for chosen in formats_of(kind, width)]
    return min(found, key=lambda pair: pair[0])


@cache
def tensors() -> dict[str, Tensor]:
    """Weights of several distributions, of unit variance: `(64, 64)`; the last two are layers that ship."""
    generator = torch.Generator().manual_seed(0)
    normal = torch.randn(SHAPE, generator=generator)
    uniform = torch.rand(SHAPE, generator=generator) * 2 - 1
    laplace = torch.empty(SHAPE).exponential_(generator=generator) * (
        2.0 * torch.rand(SHAPE, generator=generator).round() - 1
    )
    heavy = torch.randn(SHAPE, generator=generator) / _chi_square(generator, 3).div(3).sqrt()
    scales = torch.exp2(4 * torch.rand(SHAPE[0], 1, generator=generator) - 2)
    drawn = {
        "uniform": uniform,
        "normal": normal,
        "Laplace": laplace,
        "Student's t": heavy,
        "unlike rows": torch.randn(SHAPE, generator=generator) * scales,
        "jsc-mlp layer 2": _layer("jsc-mlp", "seq_blocks.2"),
        "shapes-cnn fc1": _layer("shapes-cnn", "fc1"),
    }
    return {name: values / values.std() for name, values in drawn.items()}


def _chi_square(generator: torch.Generator, freedom: int) -> Tensor:
    return torch.randn(freedom, *SHAPE, generator=generator).square().sum(0)


def _layer(model: str, path: str) -> Tensor:
    weight = get_model(model, pretrained=True).get_submodule(path).weight
    assert isinstance(weight, Tensor)
    return weight.detach()


def error_by_size() -> Any:
    """The relative error of values of about one size, at eight bits."""
    figure, axes = new_figure(3.3)
    sizes = torch.exp2(torch.arange(-12, 3, 1 / 8, dtype=torch.float64))
    for label, name, keys, colour, place in BY_SIZE:
        chosen = FORMATS[name].from_keys(keys)
        axes.plot(sizes, errors_around(chosen, sizes), color=colour, linewidth=1.8)
        axes.text(*place, label, color=colour)
    axes.axvline(2, color=MUTED, linewidth=0.8, linestyle=(0, (3, 3)))
    axes.text(2.15, 0.0035, "saturation", color=INK, fontsize=8)
    axes.set(xscale="log", yscale="log", xlim=(2**-12, 8), ylim=(0.002, 1.3))
    axes.set_xticks([2**-12, 2**-9, 2**-6, 2**-3, 1], ["1/4096", "1/512", "1/64", "1/8", "1"])
    axes.set_yticks([0.01, 0.1, 1], ["1 %", "10 %", "100 %"])
    axes.minorticks_off()
    axes.grid(linewidth=0.6)
    axes.set(xlabel="size of the value", ylabel="relative error")
    return figure


def errors_around(chosen: Format, sizes: Tensor) -> list[float]:
    """The relative error of the values of an octave around each size."""
    octave = torch.exp2(torch.linspace(-0.5, 0.5, 4001, dtype=torch.float64))
    return [relative_error(chosen, size * octave) for size in sizes]


LINES: Mapping[str, tuple[str, str]] = {
    "integer": (BLUE, "o-"),
    "scale_integer": (BLUE, "s--"),
    "block_fp": (PURPLE, "^-"),
    "minifloat_ieee": (ORANGE, "D-"),
    "log": (GREEN, "v-"),
}


@cache
def signal_to_noise(kind: str, width: int) -> float:
    """Decibels of the signal above the error, for normal weights and the best settings."""
    return -20 * math.log10(least_error(kind, width, tensors()["normal"])[0])


def one_bit_more() -> Any:
    """The error of normal weights against the width of the format."""
    figure, axes = new_figure(3.2)
    for kind, (colour, line) in LINES.items():
        found = [signal_to_noise(kind, width) for width in WIDTHS]
        axes.plot(WIDTHS, found, line, color=colour, label=kind, markersize=4.5, linewidth=1.4)
    axes.plot([4, 9], [14, 14 + 5 * 6.02], color=MUTED, linewidth=0.9, linestyle=(0, (3, 3)))
    axes.text(7.1, 27, "6 dB a bit", color=MUTED)
    axes.grid(linewidth=0.6)
    axes.set(xlabel="bits of a value", ylabel="signal to error, dB")
    axes.legend(loc="upper left", fontsize=8)
    return figure


def one_bit_more_table() -> Rows:
    """The same as numbers, with the settings that were best."""
    rows = []
    for kind in LINES:
        found = [signal_to_noise(kind, width) for width in WIDTHS]
        rows.append([f"`{kind}`", *(f"{value:.1f}" for value in found)])
    return table(["dB", *(f"{width} bits" for width in WIDTHS)], rows)


@cache
def errors(width: int) -> list[tuple[str, float, list[float]]]:
    """For each kind of format its bits a weight on `(64, 64)`, and its error on each distribution, in per cent."""
    found = []
    for kind in KINDS:
        bests = [least_error(kind, width, x) for x in tensors().values()]
        bits = bests[1][1].calibrated(tensors()["normal"]).bits(SHAPE) / math.prod(SHAPE)
        found.append((kind, bits, [100 * error for error, _ in bests]))
    return found


def distributions() -> Any:
    """Relative errors at four bits, format by distribution."""
    figure, axes = new_figure(4.9)
    numbers = [row for _, _, row in errors(4)]
    image = axes.imshow(torch.tensor(numbers).clamp(max=45), cmap=blues(), aspect="auto", vmin=5, vmax=45)
    for row, column in itertools.product(range(len(numbers)), range(len(numbers[0]))):
        value = numbers[row][column]
        is_best = value == min(line[column] for line in numbers)
        weight = "bold" if is_best else "normal"
        write_in_cell(axes, image, (row, column), f"{value:.0f}", fontweight=weight)
    axes.set_xticks(range(len(tensors())), [fill(name, 8, break_long_words=False) for name in tensors()], fontsize=8)
    axes.xaxis.tick_top()
    axes.set_yticks(range(len(KINDS)), list(KINDS), fontsize=8.5)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    return figure


def distribution_table(width: int) -> Rows:
    """The errors as a table."""
    rows = [
        [f"`{kind.split(',')[0]}`{kind.removeprefix(kind.split(',')[0])}", f"{bits:.2f}", *(f"{e:.1f} %" for e in row)]
        for kind, bits, row in errors(width)
    ]
    return table(["format", "bits a weight", *tensors()], rows)


PICTURES = {
    "formats_error_by_size": error_by_size,
    "formats_one_bit_more": one_bit_more,
    "formats_distributions": distributions,
}
TABLES = {
    "one_bit_more": one_bit_more_table,
    "distributions_4": lambda: distribution_table(4),
    "distributions_8": lambda: distribution_table(8),
}
