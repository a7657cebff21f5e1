"""Coordinate descent on the codes of a trained chain of linear layers and ReLUs.

A training with rounded weights ends where its last steps happen to round them. Here one weight, one bias, one fraction
width or the range of one input is changed at a time, and a change stays where the loss plus a factor times the EBOPs
falls. Samples are columns.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from chop.training.code_costs import EBOPS, CodeCosts, InputCosts
from chop.training.output_shifts import bits_between
from chop.training.soft_loss import CROSS_ENTROPY, SoftLoss

Floats = NDArray[np.float32]

STAGES = (1024, 4096, 16384)
"""Samples on which a change is tried before it is tried on all: most are seen to be bad on few."""

DOUBT = 0.5
"""Standard errors by which a change may seem bad on few samples, and is tried on more."""

LEAST = 1e-7
"""What a change must gain."""

GROWN = 100
"""Weights that are zero and tried in a sweep: those of the greatest gradients."""


@dataclass
class CodedLayer:
    """A linear layer: rounded weights `(outputs, inputs)` and biases; of each input the fraction width and the top.

    An input is below 2 to the power of its top, and saturates there; infinity: nowhere. `half_up`: inputs are rounded
    so, in place of half to even. Without `has_bias` the biases stay as they are.
    """

    weight: Floats
    bias: Floats
    fraction: Floats
    top: Floats
    half_up: bool
    has_bias: bool


class Change(NamedTuple):
    """A new value for one number of a layer."""

    kind: Literal["weight", "bias", "fraction", "top"]
    layer: int
    row: int
    column: int
    value: float


class Outcome(NamedTuple):
    """What a change gives on some samples: the last layers' results, what the last layers read, and the losses."""

    results: list[Floats]
    read: list[Floats]
    losses: Floats


def code_bounds(fraction: Floats, top: Floats) -> tuple[Floats, Floats]:
    """The least and the greatest codes, in two's complement, of numbers that saturate at 2 to the power of `top`.

    >>> [own.tolist() for own in code_bounds(np.array([3.0, 0.0, 0.0]), np.array([-1.0, -2.0, math.inf]))]
    [[-4.0, -0.0, -inf], [3.0, 0.0, inf]]
    """
    reach = np.floor(np.exp2(fraction + top))
    return -reach, np.maximum(reach - 1, 0)


class CodeDescent:
    """A chain on training samples `x` `(inputs, samples)` with soft targets `(classes, samples)`.

    What is minimised is the loss plus `factor` times the cost, ranges being those of all samples. `layers` change as
    the descent goes on.
    """

    def __init__(
        self,
        layers: Sequence[CodedLayer],
        x: Floats,
        shares: Floats,
        factor: float,
        loss: SoftLoss = CROSS_ENTROPY,
        costs: CodeCosts = EBOPS,
    ) -> None:
        self.layers, self.x, self.shares, self.factor, self.loss_of = list(layers), x, shares, factor, loss
        self.costs = costs
        self.range = x.min(axis=1), x.max(axis=1)
        every = slice(0, x.shape[1])
        self.stages = [slice(0, own) for own in STAGES if own < x.shape[1]] + [every]
        start = self._onward(0, [self._rounded(0, x, layers[0].fraction, layers[0].top)], [], every)
        self.results, self.read, self.losses = start
        self.bits = [
            self._bits(number, own.fraction, own.top, self.read[number]) for number, own in enumerate(self.layers)
        ]
        self.priced = [costs.of(own.weight) for own in self.layers]

    @property
    def loss(self) -> float:
        """The mean loss of all samples."""
        return float(self.losses.mean(dtype=np.float64))

    @property
    def cost(self) -> float:
        """The cost of all weights, the sign of an input counted among its bits."""
        return sum(own.total(bits) for own, bits in zip(self.priced, self.bits, strict=True))

    def descend(self, tries: int, seed: int) -> int:
        """Try as many changes, or fewer where a whole sweep finds none that stays; how many stayed."""
        random = np.random.default_rng(seed)
        stayed, before = 0, -1
        if tries:
            self.shift_outputs()
        while before < stayed and tries:
            before = stayed
            for change in itertools.islice(self._sweep(random), tries):
                tries -= 1
                stayed += self._try(change)
        if stayed:
            self.shift_outputs()
        return stayed

    def shift_outputs(self) -> None:
        """Take the shifts from the last layer's weights, and from its biases, that leave the fewest bits."""
        last, results, read = self.layers[-1], self.results[-1], self.read[-1]
        for column in range(last.weight.shape[1]):
            shift = self.costs.cheapest_shift(last.weight[:, column], self.bits[-1][column])
            last.weight[:, column] -= shift
            results -= shift * read[column]
        self.priced[-1] = self.costs.of(last.weight)
        if last.has_bias:
            shift = EBOPS.cheapest_shift(last.bias, np.float32(1))
            last.bias -= shift
            results -= shift

    def _sweep(self, random: np.random.Generator) -> Iterator[Change]:
        """Changes of all numbers, and of the zero weights with the greatest gradients, in any order."""
        places: list[tuple[str, int, int, int]] = []
        for number, own in enumerate(self.layers):
            places += [("weight", number, int(row), int(column)) for row, column in np.argwhere(own.weight)]
            places += [(kind, number, 0, column) for column in range(len(own.fraction)) for kind in ("fraction", "top")]
            if own.has_bias:
                places += [("bias", number, row, 0) for row in range(len(own.bias))]
        places += [("weight", *place) for place in self._wanted()]
        for index in random.permutation(len(places)):
            kind, number, row, column = places[index]
            if kind == "weight":
                yield from self._weights(number, row, column, random)
            elif kind == "bias":
                yield from self._biases(number, row)
            elif kind == "fraction":
                fraction = float(self.layers[number].fraction[column])
                yield from (Change("fraction", number, 0, column, fraction + step) for step in (-1, 1))
            else:
                top = self._top(number, column)
                yield from (Change("top", number, 0, column, top + step) for step in (-1, 1))

    def _wanted(self) -> list[tuple[int, int, int]]:
        """The zero weights with the greatest gradients, straight through the rounding, on some samples."""
        some = self.stages[len(self.stages) // 2]
        above = np.exp(self.results[-1][:, some] - self.results[-1][:, some].max(axis=0))
        above /= above.sum(axis=0)
        above -= self.shares[:, some]
        found: list[tuple[float, int, int, int]] = []
        for number in reversed(range(len(self.layers))):
            weight, gradient = self.layers[number].weight, np.abs(above @ self.read[number][:, some].T)
            zeros = np.argwhere(weight == 0)
            found += [(-float(gradient[row, column]), number, int(row), int(column)) for row, column in zeros]
            if number:
                above = (weight.T @ above) * (self.results[number - 1][:, some] > 0)
        return [place for _, *place in sorted(found)[:GROWN]]  # type: ignore[misc]

    def _weights(self, number: int, row: int, column: int, random: np.random.Generator) -> Iterator[Change]:
        """Neighbours of a weight and cheaper numbers near it; for a zero powers of two about as large as its row's."""
        own = self.layers[number].weight
        value = float(own[row, column])
        if value:
            power = math.copysign(2.0 ** math.frexp(value)[1], value)
            step = abs(power) * 2.0 ** -float(bits_between(own[row, column : column + 1])[0])
            near = [share * step + value for share in (-1, -0.5, 0.5, 1)]
            tried = {0.0, value / 2, 2 * value, power / 2, power, *near} - {value}
        else:
            size = float(np.abs(own[row]).sum()) / max(int(np.count_nonzero(own[row])), 1)
            size = 2.0 ** round(math.log2(size)) if size else 0.5
            tried = {sign * share * size for sign in (-1, 1) for share in (0.25, 0.5, 1)}
        for new in random.permutation(sorted(tried)):
            yield Change("weight", number, row, column, float(new))

    def _biases(self, number: int, row: int) -> Iterator[Change]:
        """Steps of a bias that are about those of what reads it."""
        last = number + 1 == len(self.layers)
        step = 2.0**-4 if last else 2.0 ** -float(self.layers[number + 1].fraction[row])
        for share in (-2, -1, -0.5, 0.5, 1, 2):
            yield Change("bias", number, row, 0, float(self.layers[number].bias[row]) + share * step)

    def _top(self, number: int, column: int) -> float:
        """The power of two below which an input is, whether it saturates there or not."""
        bits = float(self.bits[number][column])
        has_sign = number == 0 and bits > 0 and bool((self.range[0] < 0).any())
        return bits - has_sign - float(self.layers[number].fraction[column])

    def _try(self, change: Change) -> bool:
        """Whether a change stays: on few samples, then on more it must not be worse beyond doubt, on all better."""
        if change.value == self._value(change):
            return False
        priced = self._priced(change)
        saved = self.factor * self._saved(change, priced)
        for some in self.stages:
            outcome = self._outcome(change, some)
            gains = self.losses[some] - outcome.losses
            is_last = some == self.stages[-1]
            doubt = 0.0 if is_last else DOUBT * float(gains.std()) / math.sqrt(len(gains))
            if not is_last and float(gains.mean()) + doubt + saved <= LEAST:
                return False
        return self._stays(change, outcome, priced)

    def _saved(self, change: Change, priced: InputCosts) -> float:
        """The cost that a change saves, as far as ranges do not change."""
        if change.kind in ("weight", "bias"):
            bits = self.bits[change.layer]
            return self.priced[change.layer].total(bits) - priced.total(bits)
        old = self._value(change) if change.kind == "fraction" else self._top(change.layer, change.column)
        return (old - change.value) * float(priced.by_bit[change.column])

    def _stays(self, change: Change, outcome: Outcome, priced: InputCosts) -> bool:
        """Take a change over if it is better by the exact cost."""
        first = len(self.layers) - len(outcome.read)
        fractions, tops = [own.fraction for own in self.layers], [own.top for own in self.layers]
        if change.kind == "fraction":
            fractions[change.layer] = fractions[change.layer].copy()
            fractions[change.layer][change.column] = change.value
        if change.kind == "top":
            tops[change.layer] = tops[change.layer].copy()
            tops[change.layer][change.column] = change.value
        bits = [
            *self.bits[:first],
            *(
                self._bits(first + more, fractions[first + more], tops[first + more], read)
                for more, read in enumerate(outcome.read)
            ),
        ]
        all_priced = [*self.priced[: change.layer], priced, *self.priced[change.layer + 1 :]]
        cost = sum(own.total(read) for own, read in zip(all_priced, bits, strict=True))
        loss = float(outcome.losses.mean(dtype=np.float64))
        if loss + self.factor * cost >= self.loss + self.factor * self.cost - LEAST:
            return False
        own = self.layers[change.layer]
        if change.kind == "weight":
            own.weight[change.row, change.column] = change.value
        elif change.kind == "bias":
            own.bias[change.row] = change.value
        own.fraction, own.top = fractions[change.layer], tops[change.layer]
        self.bits, self.priced, self.losses = bits, all_priced, outcome.losses
        self.results[len(self.layers) - len(outcome.results) :] = outcome.results
        self.read[first:] = outcome.read
        return True

    def _value(self, change: Change) -> float:
        own = self.layers[change.layer]
        if change.kind == "weight":
            return float(own.weight[change.row, change.column])
        if change.kind == "bias":
            return float(own.bias[change.row])
        return float((own.fraction if change.kind == "fraction" else own.top)[change.column])

    def _priced(self, change: Change) -> InputCosts:
        """The costs of the layer's weights after a change; of the last layer's, after their shifts."""
        priced = self.priced[change.layer]
        if change.kind != "weight":
            return priced
        weights = self.layers[change.layer].weight[:, change.column].copy()
        weights[change.row] = change.value
        if change.layer + 1 == len(self.layers):
            weights -= self.costs.cheapest_shift(weights, self.bits[-1][change.column])
        return priced.with_input(change.column, self.costs.of(weights[:, None]))

    def _outcome(self, change: Change, some: slice) -> Outcome:
        """What a change gives on some samples."""
        number, row = change.layer, change.row
        if change.kind in ("fraction", "top"):
            source = self.results[number - 1] if number else self.x
            here = slice(change.column, change.column + 1)
            fraction, top = self.layers[number].fraction[here], self.layers[number].top[here]
            new = np.array([change.value], np.float32)
            fraction, top = (new, top) if change.kind == "fraction" else (fraction, new)
            line = self._rounded(number, source[here, some], fraction, top)[0]
            return self._after_read(number, change.column, line, some)
        step = np.float32(change.value - self._value(change))
        results = self.results[number][:, some].copy()
        results[row] += step * self.read[number][change.column, some] if change.kind == "weight" else step
        if number + 1 == len(self.layers):
            return Outcome([results], [], self._losses(results, some))
        above = self.layers[number + 1]
        fraction, top = above.fraction[row : row + 1], above.top[row : row + 1]
        line = self._rounded(number + 1, results[row : row + 1], fraction, top)[0]
        after = self._after_read(number + 1, row, line, some)
        return after._replace(results=[results, *after.results])

    def _after_read(self, number: int, row: int, line: Floats, some: slice) -> Outcome:
        """What it gives that a layer reads another line of one of its inputs."""
        read = self.read[number][:, some].copy()
        results = self.results[number][:, some] + self.layers[number].weight[:, row, None] * (line - read[row])
        read[row] = line
        return self._onward(number, [read], [results], some)

    def _onward(self, number: int, read: list[Floats], results: list[Floats], some: slice) -> Outcome:
        """Go on from what layer `number` reads, and from its results where they are known."""
        for below, own in enumerate(self.layers[number:], number):
            if below > number:
                read.append(self._rounded(below, results[-1], own.fraction, own.top))
            if len(results) < len(read):
                results.append(own.weight @ read[-1] + own.bias[:, None])
        return Outcome(results, read, self._losses(results[-1], some))

    def _rounded(self, number: int, values: Floats, fraction: Floats, top: Floats) -> Floats:
        """What layer `number` reads of the results before it."""
        scale = np.exp2(fraction)[:, None]
        codes: Floats = values * scale
        if number:
            np.maximum(codes, 0, out=codes)
        if self.layers[number].half_up:
            codes += 0.5
            np.floor(codes, out=codes)
        else:
            np.rint(codes, out=codes)
        low, high = code_bounds(fraction, top)
        if np.isfinite(high).any():
            np.minimum(codes, high[:, None], out=codes)
            if not number:
                np.maximum(codes, low[:, None], out=codes)
        codes /= scale
        return codes

    def _bits(self, number: int, fraction: Floats, top: Floats, read: Floats) -> Floats:
        """The bits of each input of a layer, its sign counted; behind a ReLU there is none."""
        scale = np.exp2(fraction)
        if number:
            return _whole_bits(read.max(axis=1) * scale)
        low, high = (np.clip(np.rint(own * scale), *code_bounds(fraction, top)) for own in self.range)
        bits = _whole_bits(np.maximum(np.maximum(high, -low - 1), 0))
        signs: Floats = ((bits > 0) | (low < 0)).astype(np.float32)
        return bits + signs if (low < 0).any() else bits

    def _losses(self, outputs: Floats, some: slice) -> Floats:
        """The loss of each sample."""
        return self.loss_of.losses(outputs, self.shares[:, some])


def _whole_bits(codes: Floats) -> Floats:
    """The bits of whole numbers that are not negative."""
    return np.frexp(codes)[1].astype(np.float32)
