"""Coordinate descent on the codes of a trained chain of linear layers and ReLUs.

A training with rounded weights ends where its last steps happen to round them. Here one weight, one bias, one fraction
width or the range of one input is changed at a time, and a change stays where the loss plus a factor times the EBOPs
falls. Samples are columns.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence

import numpy as np

from chop.training.code_costs import EBOPS, CodeCosts, InputCosts
from chop.training.coded_samples import Change, CodedLayer, CodedSamples, Floats, Outcome, code_bounds, parts_of
from chop.training.output_shifts import bits_between
from chop.training.soft_loss import CROSS_ENTROPY, SoftLoss

STAGES = (1024, 4096, 16384)
"""Samples on which a change is tried before it is tried on all: most are seen to be bad on few."""

DOUBT = 0.5
"""Standard errors by which a change may seem bad on few samples, and is tried on more."""

LEAST = 1e-7
"""What a change must gain."""

GROWN = 100
"""Weights that are zero and tried in a sweep: those of the greatest gradients."""


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
        self.layers, self.factor, self.costs = list(layers), factor, costs
        self.range = x.min(axis=1), x.max(axis=1)
        self.losses = np.empty(x.shape[1], np.float32)
        slices = list(parts_of(x.shape[1], [own for own in STAGES if own < x.shape[1]]))
        self.parts = [CodedSamples(self.layers, x[:, own], shares[:, own], loss, self.losses[own]) for own in slices]
        self.stages = [number for number, own in enumerate(slices, 1) if own.stop in (*STAGES, x.shape[1])]
        """The numbers of parts on which a change is tried."""

        self.bits = [
            self._bits(number, own.fraction, own.top, _most([part.read[number] for part in self.parts]))
            for number, own in enumerate(self.layers)
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
        last = self.layers[-1]
        for column in range(last.weight.shape[1]):
            shift = self.costs.cheapest_shift(last.weight[:, column], self.bits[-1][column])
            last.weight[:, column] -= shift
            for part in self.parts:
                part.results[-1] -= shift * part.read[-1][column]
        self.priced[-1] = self.costs.of(last.weight)
        if last.has_bias:
            shift = EBOPS.cheapest_shift(last.bias, np.float32(1))
            last.bias -= shift
            for part in self.parts:
                part.results[-1] -= shift

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
        some = self.parts[: self.stages[len(self.stages) // 2]]
        read, results = (
            [np.concatenate(own, axis=1) for own in zip(*layers, strict=True)]
            for layers in ([part.read for part in some], [part.results for part in some])
        )
        above = np.exp(results[-1] - results[-1].max(axis=0))
        above /= above.sum(axis=0)
        above -= np.concatenate([part.shares for part in some], axis=1)
        found: list[tuple[float, int, int, int]] = []
        for number in reversed(range(len(self.layers))):
            weight, gradient = self.layers[number].weight, np.abs(above @ read[number].T)
            zeros = np.argwhere(weight == 0)
            found += [(-float(gradient[row, column]), number, int(row), int(column)) for row, column in zeros]
            if number:
                above = (weight.T @ above) * (results[number - 1] > 0)
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
        if change.value == change.old(self.layers):
            return False
        priced = self._priced(change)
        saved = self.factor * self._saved(change, priced)
        outcomes: list[Outcome] = []
        for stage in self.stages:
            outcomes += [part.outcome(change) for part in self.parts[len(outcomes) : stage]]
            losses = np.concatenate([own.losses for own in outcomes])
            gains = self.losses[: len(losses)] - losses
            is_last = stage == len(self.parts)
            doubt = 0.0 if is_last else DOUBT * float(gains.std()) / math.sqrt(len(gains))
            if not is_last and float(gains.mean()) + doubt + saved <= LEAST:
                return False
        return self._stays(change, outcomes, priced, float(losses.mean(dtype=np.float64)))

    def _saved(self, change: Change, priced: InputCosts) -> float:
        """The cost that a change saves, as far as ranges do not change."""
        if change.kind in ("weight", "bias"):
            bits = self.bits[change.layer]
            return self.priced[change.layer].total(bits) - priced.total(bits)
        old = change.old(self.layers) if change.kind == "fraction" else self._top(change.layer, change.column)
        return (old - change.value) * float(priced.by_bit[change.column])

    def _stays(self, change: Change, outcomes: Sequence[Outcome], priced: InputCosts, loss: float) -> bool:
        """Take a change over if it is better by the exact cost."""
        number, column = change.layer, change.column
        fraction, top = self.layers[number].fraction.copy(), self.layers[number].top.copy()
        if change.is_of_input:
            (fraction if change.kind == "fraction" else top)[column] = change.value
        bits, all_priced = self._bits_after(change, outcomes, fraction, top), list(self.priced)
        all_priced[number] = priced
        cost = sum(own.total(read) for own, read in zip(all_priced, bits, strict=True))
        if loss + self.factor * cost >= self.loss + self.factor * self.cost - LEAST:
            return False
        for part, outcome in zip(self.parts, outcomes, strict=True):
            part.take(change, outcome)
        own = self.layers[number]
        if change.kind == "weight":
            own.weight[change.row, column] = change.value
        elif change.kind == "bias":
            own.bias[change.row] = change.value
        own.fraction, own.top = fraction, top
        self.bits, self.priced = bits, all_priced
        return True

    def _bits_after(self, change: Change, outcomes: Sequence[Outcome], fraction: Floats, top: Floats) -> list[Floats]:
        """The bits of all inputs after a change; `fraction` and `top` are then those of the layer's inputs."""
        bits = list(self.bits)
        first = len(self.layers) - len(outcomes[0].results)
        if first == 0:
            bits[0] = self._bits(0, fraction, top, fraction)
        elif outcomes[0].line is not None:
            place = change.column if change.is_of_input else change.row
            fractions = fraction if change.is_of_input else self.layers[first].fraction
            most = _most([own.line[None] for own in outcomes if own.line is not None])
            bits[first] = bits[first].copy()
            bits[first][place] = _whole_bits(most * np.exp2(fractions[place]))[0]
        for more in range(len(outcomes[0].read)):
            number = first + 1 + more
            own = self.layers[number]
            bits[number] = self._bits(number, own.fraction, own.top, _most([found.read[more] for found in outcomes]))
        return bits

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

    def _bits(self, number: int, fraction: Floats, top: Floats, most: Floats) -> Floats:
        """The bits of each input of a layer that is `most` at most, its sign counted; behind a ReLU there is none."""
        scale = np.exp2(fraction)
        if number:
            return _whole_bits(most * scale)
        low, high = (np.clip(np.rint(own * scale), *code_bounds(fraction, top)) for own in self.range)
        bits = _whole_bits(np.maximum(np.maximum(high, -low - 1), 0))
        signs: Floats = ((bits > 0) | (low < 0)).astype(np.float32)
        return bits + signs if (low < 0).any() else bits


def _most(parts: Sequence[Floats]) -> Floats:
    """The greatest value of each row."""
    found: Floats = np.max([own.max(axis=1) for own in parts], axis=0)
    return found


def _whole_bits(codes: Floats) -> Floats:
    """The bits of whole numbers that are not negative."""
    return np.frexp(codes)[1].astype(np.float32)
