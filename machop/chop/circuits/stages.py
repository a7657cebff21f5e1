"""The operations of an integer network: each runs on codes, and says which range its results have."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property, reduce

import numpy as np
from numpy.typing import NDArray

from chop.circuits.values import ALL_ZERO, MOST_BITS, Integers, Range, Values, effective_bits, trailing_zeros
from chop.errors import CircuitError
from chop.formats.grid import Grid

PADDING = -1
"""Index of a value outside the tensor, which is 0 (no value at all where the greatest is taken)."""

MOST_RISE = 40
"""A shift to the left that takes every code but 0 out of the range of any format (of 32 bits at most)."""

CHUNK = 2**22
"""Products of one sample and one piece that are in memory at once."""


@dataclass(frozen=True)
class Stage(ABC):
    """An operation on the results of `sources`; `shape` is that of one sample's result."""

    name: str
    sources: tuple[str, ...]
    shape: tuple[int, ...]

    @abstractmethod
    def run(self, *given: Values) -> Values:
        """The result for samples."""

    def range_of(self, *given: Range) -> Range:
        """The exact range of the result for independent inputs with these ranges.

        Here for an operation that never falls where an input rises.
        """
        ends = self.run(*(own.ends() for own in given))
        return Range(ends.codes[0], ends.codes[1], ends.frac, self._zeros(ends.frac, *given))

    def _zeros(self, frac: int, *given: Range) -> Integers:
        """The zero bits at the end of each result in steps of 2^-frac."""
        zeros = [own.zeros + (frac - own.frac) for own in given]
        return np.broadcast_to(reduce(np.minimum, zeros), self.shape)


@dataclass(frozen=True)
class Round(Stage):
    """Rounds to the grid of a format; with `is_relu`, what is negative becomes 0: a ReLU before it is part of it."""

    grid: Grid
    is_relu: bool = False

    def run(self, *given: Values) -> Values:
        (x,) = given
        found = rounded(x, self.grid)
        return Values(np.maximum(found.codes, 0), found.frac) if self.is_relu else found

    def range_of(self, *given: Range) -> Range:
        """The range of a stage that never falls; an end that clamps may lie between the input's steps."""
        found = super().range_of(*given)
        ends = np.minimum(trailing_zeros(found.low), trailing_zeros(found.high))
        return replace(found, zeros=np.minimum(found.zeros, ends))

    def _zeros(self, frac: int, *given: Range) -> Integers:
        (x,) = given
        grid = np.broadcast_to(frac - self.grid.frac, self.shape)
        return np.maximum(grid, np.minimum(x.zeros + (frac - x.frac), ALL_ZERO))


@dataclass(frozen=True)
class Port(Stage):
    """An input of the circuit: float values that are rounded to the grid of a format before they come in."""

    grid: Grid

    def codes_of(self, x: NDArray[np.float64]) -> Values:
        """Float values `(samples, *shape)` as the port takes them."""
        scaled = np.ldexp(x, self.grid.frac)
        whole = np.floor(scaled) if self.grid.rounds_down else np.rint(scaled)
        return _aligned(np.clip(whole, self.grid.low, self.grid.high).astype(np.int64), self.grid.frac)

    def run(self, *given: Values) -> Values:
        raise AssertionError("a port has no sources")

    def range_of(self, *given: Range) -> Range:
        """All that the format holds."""
        assert not given
        ends = [np.broadcast_to(end, self.shape) for end in (self.grid.low, self.grid.high)]
        found = _aligned(np.stack(ends), self.grid.frac)
        zeros = np.broadcast_to(found.frac - self.grid.frac, self.shape)
        return Range(found.codes[0], found.codes[1], found.frac, zeros)


@dataclass(frozen=True)
class Affine(Stage):
    """Sums of values times constants, plus a constant: linear layers, convolutions, norms, averages.

    `index` `(groups, positions, terms)` says which elements of the flattened source are summed (or `PADDING`),
    `weight` `(groups, outputs, terms)` and `bias` `(groups · outputs,)` hold codes. The result is
    `(groups · outputs, positions)`, or `(positions, groups · outputs)` with `channels_last`, in `shape`.
    """

    index: Integers
    weight: Integers
    weight_frac: int
    bias: Integers
    bias_frac: int
    channels_last: bool = False

    def run(self, *given: Values) -> Values:
        (x,) = given
        frac = max(x.frac + self.weight_frac, self.bias_frac)
        flat = with_padding(x.codes.reshape(len(x.codes), -1), 0)
        weight, piece = self.weight.transpose(0, 2, 1), max(1, CHUNK // max(1, self.index.size))
        pieces = [flat[start : start + piece][:, self.index] @ weight for start in range(0, len(flat), piece)]
        sums = np.concatenate(pieces) << (frac - x.frac - self.weight_frac)
        return Values(self._arranged(sums) + (self._bias_by_element << (frac - self.bias_frac)), frac)

    def range_of(self, *given: Range) -> Range:
        (x,) = given
        frac = max(x.frac + self.weight_frac, self.bias_frac)
        self._require_width(x, frac)
        low, high = (with_padding(end.reshape(1, -1), 0)[0][self.index] for end in (x.low, x.high))
        positive, negative = self._by_sign
        shift = frac - x.frac - self.weight_frac
        bias = self._bias_by_element << (frac - self.bias_frac)
        ends = [
            self._arranged(((a @ positive + b @ negative) << shift)[None])[0] for a, b in ((low, high), (high, low))
        ]
        return Range(ends[0] + bias, ends[1] + bias, frac, self._zeros(frac, x))

    def _zeros(self, frac: int, *given: Range) -> Integers:
        (x,) = given
        own = with_padding(x.zeros.reshape(1, -1), ALL_ZERO)[0][self.index]
        if np.all(own == own.flat[0]):
            least = np.broadcast_to(self._weight_zeros.min(axis=2)[:, None] + own.flat[0], self._sums_shape)
        else:
            rows = [(own + row[:, None]).min(axis=2) for row in self._weight_zeros.transpose(1, 0, 2)]
            least = np.stack(rows, axis=2)
        shift = frac - x.frac - self.weight_frac
        bias = self._bias_zeros + (frac - self.bias_frac)
        found: Integers = np.minimum(np.minimum(self._arranged(least[None])[0] + shift, bias), ALL_ZERO)
        return found

    def _require_width(self, x: Range, frac: int) -> None:
        reach = np.maximum(np.abs(x.low), np.abs(x.high)).max(initial=0)
        terms = self._most_weight * float(reach)
        bias = float(np.abs(self.bias).max(initial=0)) * 2.0 ** (frac - self.bias_frac)
        if terms * 2.0 ** (frac - x.frac - self.weight_frac) + bias >= 2.0**MOST_BITS:
            raise CircuitError(f"its sums need more than {MOST_BITS} bits; choose fewer bits after the point")

    @property
    def _sums_shape(self) -> tuple[int, int, int]:
        return (*self.index.shape[:2], self.weight.shape[1])

    @cached_property
    def _by_sign(self) -> tuple[Integers, Integers]:
        """The positive and the negative weights, `(groups, terms, outputs)`."""
        return np.maximum(self.weight, 0).transpose(0, 2, 1), np.minimum(self.weight, 0).transpose(0, 2, 1)

    @cached_property
    def _most_weight(self) -> float:
        return float(np.abs(self.weight.astype(np.float64)).sum(axis=2).max(initial=0))

    @cached_property
    def weight_bits(self) -> Integers:
        """The effective bits of the weights."""
        return effective_bits(self.weight)

    @cached_property
    def is_weight(self) -> Integers:
        """1 where a weight is not zero, else 0."""
        found: Integers = (self.weight != 0).astype(np.int64)
        return found

    @cached_property
    def _weight_zeros(self) -> Integers:
        return trailing_zeros(self.weight)

    @cached_property
    def _bias_zeros(self) -> Integers:
        return trailing_zeros(self._bias_by_element)

    @cached_property
    def _bias_by_element(self) -> Integers:
        positions = self.index.shape[1]
        spread: Integers = np.broadcast_to(self.bias[:, None], (len(self.bias), positions))
        return (spread.T if self.channels_last else spread).reshape(self.shape)

    def _arranged(self, sums: Integers) -> Integers:
        """`(samples, groups, positions, outputs)` in the shape of the result."""
        order = (0, 2, 1, 3) if self.channels_last else (0, 1, 3, 2)
        return sums.transpose(order).reshape(len(sums), *self.shape)


@dataclass(frozen=True)
class Clip(Stage):
    """The values within the range from `low` to `high` (codes in steps of 2^-bound_frac; None: no bound), as ReLU."""

    low: int | None = None
    high: int | None = None
    bound_frac: int = 0

    def run(self, *given: Values) -> Values:
        (x,) = given
        frac = max(x.frac, self.bound_frac)
        low, high = (None if end is None else end << (frac - self.bound_frac) for end in (self.low, self.high))
        codes = x.at(frac)
        return Values(codes if low is None and high is None else np.clip(codes, low, high), frac)

    def _zeros(self, frac: int, *given: Range) -> Integers:
        bounds = [end for end in (self.low, self.high) if end is not None]
        own = trailing_zeros(np.array([*bounds, 0])).min() + frac - self.bound_frac
        found: Integers = np.minimum(super()._zeros(frac, *given), own)
        return found


@dataclass(frozen=True)
class Add(Stage):
    """The sum of two values, or the first less the second, where shapes may broadcast."""

    subtracts: bool = False

    def run(self, *given: Values) -> Values:
        frac = max(own.frac for own in given)
        first, second = (own.at(frac) for own in given)
        return Values(first - second if self.subtracts else first + second, frac)

    def range_of(self, *given: Range) -> Range:
        if not self.subtracts:
            return super().range_of(*given)
        first, second = given
        turned = Range(-second.high, -second.low, second.frac, second.zeros)
        return Add(self.name, self.sources, self.shape).range_of(first, turned)


@dataclass(frozen=True)
class Maximum(Stage):
    """The greatest of some elements of the flattened source: `index` `(elements, terms)`, `PADDING` is none."""

    index: Integers

    def run(self, *given: Values) -> Values:
        (x,) = given
        flat = with_padding(x.codes.reshape(len(x.codes), -1), np.iinfo(np.int64).min)
        return Values(flat[:, self.index].max(axis=2).reshape(len(flat), *self.shape), x.frac)

    def _zeros(self, frac: int, *given: Range) -> Integers:
        (x,) = given
        zeros = with_padding(x.zeros.reshape(1, -1), ALL_ZERO)[0]
        found: Integers = zeros[self.index].min(axis=1).reshape(self.shape)
        return found


@dataclass(frozen=True)
class Select(Stage):
    """Elements of the flattened sources, one source behind the other: reshapes, permutations, slices, joins."""

    index: Integers

    def run(self, *given: Values) -> Values:
        frac = max(own.frac for own in given)
        flat = [own.at(frac).reshape(len(own.codes), -1) for own in given]
        return Values(np.concatenate(flat, axis=1)[:, self.index].reshape(len(flat[0]), *self.shape), frac)

    def _zeros(self, frac: int, *given: Range) -> Integers:
        zeros = [(own.zeros + (frac - own.frac)).reshape(-1) for own in given]
        return np.concatenate(zeros)[self.index].reshape(self.shape)


def rounding(name: str, source: Stage, shape: tuple[int, ...], grid: Grid) -> Round:
    """The result of `source` rounded to a grid. A ReLU becomes a part of it, and is not read any more."""
    if isinstance(source, Clip) and source.low == 0 and source.high is None:
        return Round(name, source.sources, shape, grid, is_relu=True)
    return Round(name, (source.name,), shape, grid)


def rounded(x: Values, grid: Grid) -> Values:
    """Values rounded to a grid, in integers: half to even or down, then clamped.

    Raises CircuitError where a code takes more than `MOST_BITS` bits.
    """
    drop = np.clip(x.frac - grid.frac, 0, MOST_BITS + 2)
    below = x.codes >> drop
    if not grid.rounds_down:
        rest = x.codes - (below << drop)
        half = np.where(drop > 0, np.int64(1) << np.maximum(drop - 1, 0), 1)
        below = below + ((rest > half) | ((rest == half) & (drop > 0) & (below & 1 == 1)))
    rise = np.clip(grid.frac - x.frac, 0, MOST_RISE)
    low, high = grid.low >> rise, grid.high >> rise  # clamped before the shift, and exactly behind it
    codes = np.clip(np.clip(below, low - 1, high + 1) << rise, grid.low, grid.high)
    return _aligned(codes, grid.frac)


def _aligned(codes: Integers, frac: Integers) -> Values:
    """Codes with a fraction width each, as codes in one common step."""
    common = int(frac.max())
    shift = common - frac
    if shift.max(initial=0) + 32 > MOST_BITS:
        raise CircuitError("its fraction widths lie too far apart; choose widths closer to each other")
    return Values(codes << shift, common)


def with_padding(flat: Integers, value: int) -> Integers:
    """Flat elements with one more at the end, which the index `PADDING` reads."""
    return np.concatenate([flat, np.full((len(flat), 1), value, np.int64)], axis=1)


def windows(
    size: Sequence[int],
    kernel: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[tuple[int, int]],
    dilation: Sequence[int],
    ceil_mode: bool = False,
) -> tuple[Integers, tuple[int, ...]]:
    """The elements under each position of a sliding window: `(positions, kernel elements)`, and the positions' shape.

    Elements of the flattened image of `size`; `PADDING` outside of it.

    >>> windows((4,), (3,), (2,), ((1, 1),), (1,))[0].tolist()
    [[-1, 0, 1], [1, 2, 3]]
    """
    index, inside, shape = np.zeros((1, 1), np.int64), np.ones((1, 1), bool), []
    for length, own, step, (before, after), gap in zip(size, kernel, stride, padding, dilation, strict=True):
        room = length + before + after - gap * (own - 1) - 1
        count = -(-room // step) + 1 if ceil_mode else room // step + 1
        if ceil_mode and (count - 1) * step >= length + before:
            count -= 1
        places = np.arange(count)[:, None] * step - before + np.arange(own)[None] * gap
        fits = (places >= 0) & (places < length)
        joined = index[:, None, :, None] * length + places[None, :, None, :]
        index = joined.reshape(joined.shape[0] * joined.shape[1], -1)
        inside = (inside[:, None, :, None] & fits[None, :, None, :]).reshape(index.shape)
        shape.append(int(count))
    return np.where(inside, index, PADDING), tuple(shape)
