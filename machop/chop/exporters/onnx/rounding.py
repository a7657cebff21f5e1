"""Writes the rounding of activations: as QuantizeLinear and DequantizeLinear, or by arithmetic on float32."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from onnx import TensorProto

from chop.exporters.onnx.pieces import Pieces
from chop.exporters.onnx.steps import Minifloat, Steps, Way, lowest_binade
from chop.exporters.onnx.stored import SIGNED, UNSIGNED, container
from chop.formats.binary import Binary
from chop.formats.ternary import Ternary

UPPER_HALF = 128
"""The zero point of signed bytes that are stored as unsigned ones."""


@dataclass(frozen=True)
class Form:
    """How a network is written.

    `has_pairs`: activations are rounded by pairs of QuantizeLinear and DequantizeLinear where a type of 8 or 16 bits
    holds the codes, else by arithmetic on float32. Signed bytes are UINT8 with zero point 128, with which ONNX Runtime
    computes fastest; with INT8 its optimisations refuse some networks. `least` is the width of the narrowest type of
    weights. `may_saturate`: weights are INT8 also where x86 processors without VNNI saturate sums of two products.
    """

    name: str
    has_pairs: bool = True
    least: int = 4
    may_saturate: bool = False


FORMS = {
    own.name: own
    for own in (
        Form("uint8", least=8),
        Form("vnni", least=8, may_saturate=True),
        Form("smallest"),
        Form("arithmetic", has_pairs=False),
    )
}

ANYWHERE = tuple(name for name, own in FORMS.items() if not own.may_saturate)
"""The forms that compute the same on every processor."""

NARROWEST = 8
"""Bits of the narrowest type of activations: with INT4 there, ONNX Runtime 1.32's optimisations change results."""


@dataclass(frozen=True)
class Known:
    """Facts of a rounded value: its scale, and the type and the greatest magnitude of its codes."""

    scale: np.float32
    kind: int
    most: int
    is_negative: bool


@dataclass(frozen=True)
class Pair:
    """A QuantizeLinear and a DequantizeLinear: their type, and the codes that are reached."""

    steps: Steps
    kind: int
    low: int
    high: int
    offset: int
    has_clip: bool = False
    """Whether codes are clipped to their range, also where the type would do it."""

    @property
    def is_byte(self) -> bool:
        """Whether codes are bytes, on which Clip is defined."""
        return self.kind == UNSIGNED[8]

    @property
    def is_whole(self) -> bool:
        """Whether the codes are all that the type holds."""
        bits = next(own for own, kind in (*SIGNED.items(), *UNSIGNED.items()) if kind == self.kind)
        return self.high - self.low == (1 << bits) - 1


def pair_of(way: Way, form: Form) -> Pair | None:
    """How a format is rounded by a pair in a form; None where it takes arithmetic."""
    if not form.has_pairs or not isinstance(way, Steps) or not way.is_one_range:
        return None
    low, high = int(way.low), int(way.high)
    kind = container(low, high, NARROWEST)
    if kind is None:
        return None
    is_byte = kind in (SIGNED[8], UNSIGNED[8])
    offset = UPPER_HALF if is_byte and low < 0 else 0
    found = Pair(way, UNSIGNED[8] if is_byte else kind, low, high, offset)
    found = replace(found, has_clip=not found.is_whole)
    is_scalar = way.channels is None and way.scale.ndim == 0
    return found if is_scalar or (way.channels is not None and (found.is_byte or found.is_whole)) else None


def write_pair(pieces: Pieces, source: str, output: str, pair: Pair, is_positive: bool, is_final: bool) -> None:
    """Write a pair; `is_positive` makes 0 the least value, as a ReLU in front of it does."""
    steps, axis = pair.steps, pair.steps.channels
    zeros = np.broadcast_to(steps.zero + pair.offset, steps.scale.shape).astype(np.int64)
    zero = pieces.integer(f"{output}/zero_point", zeros, pair.kind)
    scale = pieces.number(f"{output}/scale", steps.scale)
    unit = scale
    if steps.rounds_down:
        scaled = pieces.op("Mul", [source, pieces.number(f"{output}/steps", 1 / steps.scale)], f"{output}/scaled")
        source, unit = (
            pieces.op("Floor", [scaled], f"{output}/floor"),
            pieces.number(f"{output}/one", steps.scale * 0 + 1),
        )
    if not pair.is_byte and not pair.is_whole:
        step = np.float32(1) if steps.rounds_down else steps.scale
        bounds = [(bound - steps.zero) * step for bound in (steps.low, steps.high)]
        source = _clip(pieces, source, output, bounds)
    codes = pieces.op("QuantizeLinear", [source, unit, zero], f"{output}/codes", axis=axis)
    if pair.is_byte and (is_positive or pair.has_clip):
        low = max(pair.low, int(steps.zero)) if is_positive else pair.low
        ends = [
            pieces.integer(f"{output}/{end}", own + pair.offset, pair.kind)
            for end, own in (("low", low), ("high", pair.high))
        ]
        codes = pieces.op("Clip", [codes, *ends], f"{output}/clipped")
    pieces.op("DequantizeLinear", [codes, scale, zero], output, is_final, axis=axis)


def write_arithmetic(pieces: Pieces, source: str, output: str, way: Way, is_final: bool) -> None:
    """Write a rounding by arithmetic on float32, as the format itself computes."""
    if isinstance(way, Steps):
        _steps(pieces, source, output, way, is_final)
    elif isinstance(way, Binary):
        _binary(pieces, source, output, way, is_final)
    elif isinstance(way, Ternary):
        _ternary(pieces, source, output, way, is_final)
    else:
        _minifloat(pieces, source, output, way, is_final)


def _steps(pieces: Pieces, source: str, output: str, steps: Steps, is_final: bool) -> None:
    scale, zero = steps.spread(steps.scale), steps.spread(steps.zero)
    is_power = bool((np.frexp(scale)[0] == 0.5).all())
    factor = pieces.number(f"{output}/steps", 1 / scale if is_power else scale)
    value = pieces.op("Mul" if is_power else "Div", [source, factor], f"{output}/scaled")
    value = pieces.op("Floor" if steps.rounds_down else "Round", [value], f"{output}/whole")
    has_zero = bool(np.any(zero != 0))
    point = pieces.number(f"{output}/zero_point", zero) if has_zero else ""
    value = pieces.op("Add", [value, point], f"{output}/moved") if has_zero else value
    value = _clip(pieces, value, output, [steps.low, steps.high])
    value = pieces.op("Sub", [value, point], f"{output}/codes") if has_zero else value
    pieces.op("Mul", [value, pieces.number(f"{output}/scale", scale)], output, is_final)


def _clip(pieces: Pieces, value: str, output: str, bounds: list[Any]) -> str:
    """Clamp to two numbers, or to two arrays that broadcast."""
    low, high = (pieces.number(f"{output}/{end}", own) for end, own in zip(("low", "high"), bounds, strict=True))
    if all(np.ndim(own) == 0 for own in bounds):
        return pieces.op("Clip", [value, low, high], f"{output}/clipped")
    return pieces.op("Min", [pieces.op("Max", [value, low], f"{output}/raised"), high], f"{output}/clipped")


def _binary(pieces: Pieces, source: str, output: str, chosen: Binary, is_final: bool) -> None:
    assert chosen.scale is not None
    zero = pieces.number(f"{output}/zero", 0.0)
    upper = pieces.op("GreaterOrEqual" if chosen.bipolar else "Greater", [source, zero], f"{output}/upper")
    high = pieces.number(f"{output}/high", np.float32(chosen.scale[0]))
    low = pieces.number(f"{output}/low", np.float32(-chosen.scale[0])) if chosen.bipolar else zero
    pieces.op("Where", [upper, high, low], output, is_final)


def _ternary(pieces: Pieces, source: str, output: str, chosen: Ternary, is_final: bool) -> None:
    assert chosen.threshold is not None
    limit = pieces.number(f"{output}/threshold", np.float32(chosen.threshold))
    size = pieces.op("Abs", [source], f"{output}/size")
    above = pieces.op("Greater", [size, limit], f"{output}/above")
    signed = pieces.op(
        "Mul",
        [pieces.op("Sign", [source], f"{output}/sign"), pieces.number(f"{output}/scale", chosen.scale)],
        f"{output}/signed",
    )
    pieces.op("Where", [above, signed, pieces.number(f"{output}/zero", 0.0)], output, is_final)


def _minifloat(pieces: Pieces, source: str, output: str, chosen: Minifloat, is_final: bool) -> None:
    """Round in units of the value's binade, found by a logarithm that is then put right."""
    lowest, limit = lowest_binade(chosen), chosen.largest
    first, last = int(math.log2(lowest)), math.floor(math.log2(limit))
    value = _clip(pieces, source, output, [np.float32(-limit), np.float32(limit)])
    size = pieces.op("Abs", [value], f"{output}/size")
    size = pieces.op("Max", [size, pieces.number(f"{output}/lowest", lowest)], f"{output}/at_least")
    power = _power_below(pieces, size, output, first, last)
    step = pieces.op("Mul", [power, pieces.number(f"{output}/unit", 2.0**-chosen.fraction_bits)], f"{output}/step")
    whole = pieces.op("Round", [pieces.op("Div", [value, step], f"{output}/scaled")], f"{output}/whole")
    pieces.op("Mul", [whole, step], output, is_final)


def _power_below(pieces: Pieces, size: str, output: str, first: int, last: int) -> str:
    """The greatest power of two, of exponents from `first` to `last`, that is no greater than a positive value."""
    table = pieces.number(f"{output}/powers", np.exp2(np.arange(first, last + 1, dtype=np.float32)))
    log = pieces.op(
        "Mul",
        [pieces.op("Log", [size], f"{output}/log"), pieces.number(f"{output}/per_bit", 1 / math.log(2))],
        f"{output}/log2",
    )
    place = pieces.op(
        "Sub",
        [pieces.op("Floor", [log], f"{output}/exponent"), pieces.number(f"{output}/first", float(first))],
        f"{output}/place",
    )
    bounds = [pieces.number(f"{output}/{end}", own) for end, own in (("start", 0.0), ("end", float(last - first)))]
    place = pieces.op("Clip", [place, *bounds], f"{output}/inside")
    index = pieces.op("Cast", [place], f"{output}/index", to=TensorProto.INT64)
    power = pieces.op("Gather", [table, index], f"{output}/power")
    half, two = pieces.number(f"{output}/half", 0.5), pieces.number(f"{output}/two", 2.0)
    is_above = pieces.op("Greater", [power, size], f"{output}/is_above")
    power = pieces.op(
        "Where", [is_above, pieces.op("Mul", [power, half], f"{output}/halved"), power], f"{output}/below"
    )
    double = pieces.op("Mul", [power, two], f"{output}/double")
    is_below = pieces.op("LessOrEqual", [double, size], f"{output}/is_below")
    return pieces.op("Where", [is_below, double, power], f"{output}/binade")


def known_of(pair: Pair | None) -> Known | None:
    """The facts of a value that a pair has rounded; None for several scales."""
    if pair is None or pair.steps.scale.ndim:
        return None
    most = max(abs(pair.low + pair.offset), pair.high + pair.offset)
    return Known(np.float32(pair.steps.scale), pair.kind, most, pair.low < int(pair.steps.zero))
