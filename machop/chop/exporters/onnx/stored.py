"""Stores constants in the smallest type of ONNX that holds them exactly."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import ml_dtypes
import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from chop.circuits.values import exact_codes
from chop.errors import CircuitError
from chop.formats import Format
from chop.formats.binary import Binary
from chop.formats.integer import FixedPoint
from chop.formats.scale_integer import ScaleInteger
from chop.formats.ternary import Ternary
from chop.weight_transforms import format_of

Floats = NDArray[np.float32]
Codes = NDArray[np.int64]

WIDEST = 16
"""Bits of the widest integer that DequantizeLinear takes, beside the 32 bits of biases."""

SIGNED = {4: TensorProto.INT4, 8: TensorProto.INT8, 16: TensorProto.INT16, 32: TensorProto.INT32}
UNSIGNED = {4: TensorProto.UINT4, 8: TensorProto.UINT8, 16: TensorProto.UINT16}
FLOATS = {TensorProto.FLOAT8E4M3FN: ml_dtypes.float8_e4m3fn, TensorProto.FLOAT8E5M2: ml_dtypes.float8_e5m2}


@dataclass(frozen=True)
class Stored:
    """`codes` in an integer or floating type of ONNX: values are (codes - zero) · scale.

    `scale` is a number, or one for each index along `axis`.
    """

    codes: NDArray[Any]
    type: int
    scale: Floats
    axis: int | None = None
    zero: int = 0

    @property
    def most(self) -> int:
        """The greatest magnitude of an integer code."""
        return int(np.abs(self.codes.astype(np.int64)).max(initial=0))

    def shifted(self) -> Stored:
        """Codes of signed bytes as unsigned ones with zero point 128."""
        return Stored(self.codes + 128, TensorProto.UINT8, self.scale, self.axis, 128)

    def tensor(self, name: str) -> onnx.TensorProto:
        """The codes as an initialiser."""
        return integer_tensor(name, self.codes, self.type)


def integer_tensor(name: str, codes: NDArray[Any], kind: int) -> onnx.TensorProto:
    """Numbers as a tensor of one of ONNX's small types."""
    return numpy_helper.from_array(np.array(codes, helper.tensor_dtype_to_np_dtype(kind), order="C"), name)


def container(low: int, high: int, least: int = 4) -> int | None:
    """The smallest integer type, of at least `least` bits, that holds all codes of a range; None where none does.

    >>> container(-8, 7) == TensorProto.INT4, container(0, 15) == TensorProto.UINT4, container(-1, 8)
    (True, True, 3)
    """
    for bits in (4, 8, 16):
        if bits < least:
            continue
        if low >= -(1 << bits - 1) and high < 1 << bits - 1:
            return SIGNED[bits]
        if low >= 0 and high < 1 << bits:
            return UNSIGNED[bits]
    return None


def stored(values: Floats, chosen: Format | None, least: int = 4) -> Stored | None:
    """Values in the smallest type that holds them exactly; None where only float32 does.

    Scales of their format are tried first, then powers of two, of the whole tensor and of each index along a dimension.
    """
    found = [own for own in _integers(values, chosen, least) if own is not None]
    best = min(found, key=lambda own: _bits(own.type), default=None)
    if best is not None and _bits(best.type) <= 8:
        return best
    return next(_small_floats(values), best)


def _bits(kind: int) -> int:
    return next(bits for bits, own in (*SIGNED.items(), *UNSIGNED.items()) if own == kind)


def _integers(values: Floats, chosen: Format | None, least: int) -> Iterator[Stored | None]:
    for scale in _scales_of(chosen):
        yield from (_with_scale(values, scale, axis, least) for axis in _axes(values, scale))
    with suppress(CircuitError):
        yield _with_scale(values, np.float32(2.0 ** -exact_codes(values.astype(np.float64)).frac), None, least)
    for axis in range(values.ndim) if values.ndim > 1 else ():
        yield _by_index(values, axis, least)


def _scales_of(chosen: Format | None) -> Iterator[NDArray[np.float32] | np.float32]:
    """The scales of a format: a number, or one for each channel."""
    own = format_of(chosen)
    if isinstance(own, FixedPoint) and not own.is_learned:
        yield np.float32(2.0) ** -np.array(own.fractions, np.float32).squeeze()
    elif isinstance(own, (ScaleInteger, Binary)) and own.scale is not None:
        yield np.array(own.scale, np.float32).squeeze()
    elif isinstance(own, Ternary):
        yield np.float32(own.scale)


def _axes(values: Floats, scale: NDArray[np.float32] | np.float32) -> list[int | None]:
    if not np.ndim(scale):
        return [None]
    return [axis for axis, length in enumerate(values.shape) if length == len(np.atleast_1d(scale))]


def _by_index(values: Floats, axis: int, least: int) -> Stored | None:
    """A power of two for each index along a dimension."""
    rows = np.moveaxis(values, axis, 0).astype(np.float64)
    try:
        fracs = [exact_codes(row).frac for row in rows]
    except CircuitError:
        return None
    return _with_scale(values, np.exp2(-np.array(fracs, np.float32)), axis, least)


def _with_scale(values: Floats, scale: Any, axis: int | None, least: int) -> Stored | None:
    """The codes for a scale; None where codes times scale are not the values, or too wide."""
    scales = np.asarray(scale, np.float32)
    spread = scales if axis is None else scales.reshape([-1 if own == axis else 1 for own in range(values.ndim)])
    with np.errstate(over="ignore"):
        codes = np.rint(values.astype(np.float64) / spread)
    if not np.array_equal(codes.astype(np.float32) * spread, values):
        return None
    kind = container(int(codes.min(initial=0)), int(codes.max(initial=0)), least)
    if kind is not None and kind in UNSIGNED.values() and _bits(kind) >= 8 and codes.max(initial=0) < 128:
        kind = SIGNED[_bits(kind)]
    return None if kind is None else Stored(codes.astype(np.int64), kind, scales, axis)


def _small_floats(values: Floats) -> Iterator[Stored]:
    for kind, dtype in FLOATS.items():
        with np.errstate(over="ignore", invalid="ignore"):
            small = values.astype(dtype)
        if np.array_equal(small.astype(np.float32), values):
            yield Stored(small, kind, np.float32(1.0))  # type: ignore[arg-type]
