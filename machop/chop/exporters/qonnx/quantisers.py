"""The attributes of a QONNX Quant operator for a rounding: scale, bit width, range, and the clamp before it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from chop.circuits.values import Values, bit_length
from chop.formats import Binary, Format, Ternary
from chop.formats.grid import Grid
from chop.formats.integer import FixedPoint
from chop.formats.measured import spread
from chop.weight_transforms import format_of

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Quantiser:
    """clamp(round(x / scale)) · scale, to codes of `bits` bits, in two's complement where it `is_signed`.

    `is_narrow` leaves out the least code.
    `low` and `high` are bounds that x is clamped to before it, for a range that no number of bits has.
    """

    scale: Floats
    bits: int
    is_signed: bool
    is_narrow: bool = False
    rounds_down: bool = False
    low: Floats | None = None
    high: Floats | None = None


@dataclass(frozen=True)
class Bipolar:
    """-scale or scale: a weight of one bit."""

    scale: Floats


def rounding_to(grid: Grid, is_relu: bool = False) -> Quantiser:
    """The quantiser of a grid; with bounds where its codes are not all those of a number of bits.

    One bit with a sign would be read as -1 or 1 by QONNX, and is written with two. Behind a ReLU (`is_relu`) there is
    no sign, as FINN wants it.
    """
    if is_relu:
        grid = Grid.of(grid.frac, np.maximum(grid.low, 0), grid.high, grid.rounds_down)
    scale = _steps(grid.frac)
    low, high = np.unique(grid.low), np.unique(grid.high)
    bits, is_signed = _word(int(low.min()), int(high.max()))
    plain = Quantiser(scale, bits, is_signed, rounds_down=grid.rounds_down)
    if len(low) == len(high) == 1:
        if (low[0], high[0]) == _codes(bits, is_signed):
            return plain
        if is_signed and low[0] == -high[0] and high[0] == _codes(bits, is_signed)[1]:
            return Quantiser(scale, bits, is_signed, is_narrow=True, rounds_down=grid.rounds_down)
    ends = [np.asarray(end * scale.astype(np.float64), np.float32) for end in (grid.low, grid.high)]
    return Quantiser(scale, bits, is_signed, rounds_down=grid.rounds_down, low=ends[0], high=ends[1])


def constant_in(chosen: Format | None, parameter: Tensor, values: Values) -> Quantiser | Bipolar:
    """The quantiser that leaves a parameter's values as its format made them.

    Its bit width is that of a fixed-point format; of others, the least that holds the values in one step.
    """
    own = format_of(chosen)
    if isinstance(own, Binary) and own.bipolar:
        return Bipolar(np.abs(_spread(own.scale or (1.0,), parameter, own.channel_axis, own.channel_groups)))
    if isinstance(own, Ternary):
        return Quantiser(np.float32(own.scale) * np.ones((), np.float32), 2, True, is_narrow=True)
    if isinstance(own, FixedPoint) and not own.is_learned and own.width > 1:
        scales = tuple(float(np.ldexp(1.0, -fraction)) for fraction in own.fractions)
        scale = _spread(scales, parameter, own.channel_axis, own.channel_groups)
        return Quantiser(scale, own.width, own.is_signed)
    bits, is_signed = _word(int(values.codes.min(initial=0)), int(values.codes.max(initial=0)))
    return Quantiser(_steps(np.asarray(values.frac)), bits, is_signed)


def _spread(numbers: tuple[float, ...], parameter: Tensor, axis: int, groups: int) -> Floats:
    """One number a channel, in a shape that broadcasts to the parameter, or one for all."""
    found = spread(numbers, parameter, axis, groups)
    return np.asarray(found, np.float32)


def _word(low: int, high: int) -> tuple[int, bool]:
    """The bits of a word that holds the codes from `low` to `high`, and whether it has a sign: with one, 2 at least."""
    reach = int(bit_length(np.array([max(-low - 1, high, 0)]))[0])
    return (max(reach + 1, 2), True) if low < 0 else (max(reach, 1), False)


def _codes(bits: int, is_signed: bool) -> tuple[int, int]:
    return (-(1 << bits - 1), (1 << bits - 1) - 1) if is_signed else (0, (1 << bits) - 1)


def _steps(frac: NDArray[np.int64]) -> Floats:
    return np.asarray(np.ldexp(1.0, -frac), np.float32)
