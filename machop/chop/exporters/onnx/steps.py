"""Says how a format rounds activations, as numbers that operators of ONNX take."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chop.formats import Format
from chop.formats.binary import Binary
from chop.formats.integer import FixedPoint
from chop.formats.learned import code_bounds
from chop.formats.minifloat import MinifloatDenorm, MinifloatIEEE
from chop.formats.rounding import HIGHEST_EXPONENT, fits_float32
from chop.formats.scale_integer import ScaleInteger
from chop.formats.ternary import Ternary

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Steps:
    """(clamp(round(x / scale) + zero, low, high) - zero) · scale: numbers, or arrays that broadcast to a sample.

    `channels` is the dimension, counted from the end, of a `scale` and a `zero` with one number a channel.
    """

    scale: Floats
    low: Floats
    high: Floats
    zero: Floats
    rounds_down: bool = False
    channels: int | None = None

    @property
    def is_one_range(self) -> bool:
        """Whether all values have the same range of codes."""
        return self.low.size == 1 and self.high.size == 1

    def spread(self, numbers: Floats) -> Floats:
        """Numbers by channel in a shape that broadcasts to a sample."""
        if self.channels is None or numbers.ndim != 1:
            return numbers
        return numbers.reshape(-1, *[1] * (-self.channels - 1))


Minifloat = MinifloatIEEE | MinifloatDenorm
Way = Steps | Minifloat | Binary | Ternary


def can_round(chosen: Format) -> bool:
    """Whether operators of ONNX round to a format exactly, once all that it measures is measured."""
    if isinstance(chosen, (MinifloatIEEE, MinifloatDenorm)):
        return _is_exact(chosen)
    if isinstance(chosen, Binary):
        return not chosen.stochastic and chosen.granularity == "tensor"
    return isinstance(chosen, (FixedPoint, ScaleInteger, Ternary))


def way_of(chosen: Format) -> Way:
    """How operators of ONNX round to a format that `can_round` and that is measured."""
    if isinstance(chosen, FixedPoint):
        return _fixed(chosen)
    if isinstance(chosen, ScaleInteger):
        return _scaled(chosen)
    assert isinstance(chosen, (MinifloatIEEE, MinifloatDenorm, Binary, Ternary))
    return chosen


def lowest_binade(chosen: Minifloat) -> float:
    """The power of two below which a minifloat's steps no longer shrink."""
    return float(2.0 ** (chosen.step_exponent + chosen.fraction_bits))


def _is_exact(chosen: Minifloat) -> bool:
    """Whether float32's own operations round to a minifloat."""
    highest = 2.0 ** min(chosen.top_exponent, HIGHEST_EXPONENT)
    return fits_float32(lowest_binade(chosen), highest, chosen.fraction_bits)


def _fixed(chosen: FixedPoint) -> Steps:
    if chosen.is_learned:
        return _learned(chosen)
    low, high = (_floats(bound) for bound in chosen.code_range)
    if int(high) > chosen.code_range[1]:  # float32 holds whole numbers to 2^24 only
        high = np.nextafter(high, np.float32(0))
    scale = np.exp2(-np.array(chosen.fractions, np.float32))
    is_one = len(scale) == 1
    axis = None if is_one else _from_the_end(chosen)
    return Steps(scale[0] if is_one else scale, low, high, _floats(0), chosen.rounds_down, axis)


def _from_the_end(chosen: Any) -> int:
    """The dimension of the channels; formats of observed operands count from the end."""
    return int(chosen.channel_axis)


def _learned(chosen: FixedPoint) -> Steps:
    fractions, widths = chosen.frac_width, chosen.element_width
    assert not isinstance(fractions, (int, str, tuple)) and fractions is not None and widths is not None
    low, high = code_bounds(widths.values.float(), chosen.is_signed)
    scale = np.exp2(-fractions.values.float().numpy())
    return Steps(_plain(scale), _plain(low.numpy()), _plain(high.numpy()), _floats(0), chosen.rounds_down)


def _plain(numbers: Floats) -> Floats:
    """Numbers that differ between values as they are; one for all values as a number without dimensions."""
    return numbers.reshape(()) if numbers.size == 1 else numbers


def _scaled(chosen: ScaleInteger) -> Steps:
    assert chosen.scale is not None
    low, high = (_floats(bound) for bound in chosen.code_range)
    scale, zero = np.array(chosen.scale, np.float32), np.array(chosen.zero_point, np.float32)
    if len(scale) == 1:
        return Steps(scale[0], low, high, zero[0])
    return Steps(scale, low, high, np.broadcast_to(zero, scale.shape), channels=_from_the_end(chosen))


def _floats(number: float) -> Any:
    return np.float32(number)
