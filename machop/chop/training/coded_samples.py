"""What a chain of linear layers and ReLUs of rounded numbers gives for samples, and what a change of one number gives.

Samples are columns. They are held in parts that fit in a processor's cache: a pass over all of them at once would
wait for memory.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from chop.training.soft_loss import SoftLoss

Floats = NDArray[np.float32]

MOST_SAMPLES = 8192
"""Samples of a part: 32 features of so many take a MiB."""


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

    @property
    def is_of_input(self) -> bool:
        """Whether the number belongs to an input, and not to the weights and biases."""
        return self.kind in ("fraction", "top")

    def old(self, layers: Sequence[CodedLayer]) -> float:
        """The number as it is."""
        own = layers[self.layer]
        if self.kind == "weight":
            return float(own.weight[self.row, self.column])
        if self.kind == "bias":
            return float(own.bias[self.row])
        return float((own.fraction if self.kind == "fraction" else own.top)[self.column])


class Outcome(NamedTuple):
    """What a change gives on some samples.

    `result` is the row that changes of a layer's results, `line` that of what the next layer reads; None where there is
    none. `results` are those of the layers behind, `read` what the layers behind the first of these read.
    """

    result: Floats | None
    line: Floats | None
    results: list[Floats]
    read: list[Floats]
    losses: Floats


def code_bounds(fraction: Floats, top: Floats) -> tuple[Floats, Floats]:
    """The least and the greatest codes, in two's complement, of numbers that saturate at 2 to the power of `top`.

    >>> [own.tolist() for own in code_bounds(np.array([3.0, 0.0, 0.0]), np.array([-1.0, -2.0, np.inf]))]
    [[-4.0, -0.0, -inf], [3.0, 0.0, inf]]
    """
    reach = np.floor(np.exp2(fraction + top))
    return -reach, np.maximum(reach - 1, 0)


def parts_of(count: int, stages: Sequence[int]) -> Iterator[slice]:
    """The parts of so many samples; each of `stages`, numbers of samples from the first, ends with a part.

    >>> [(own.start, own.stop) for own in parts_of(20_000, (1024, 16_000))]
    [(0, 1024), (1024, 9216), (9216, 16000), (16000, 20000)]
    """
    first = 0
    for stage in (*stages, count):
        while first < stage:
            last = min(first + MOST_SAMPLES, stage)
            yield slice(first, last)
            first = last


class CodedSamples:
    """Samples `x` `(inputs, samples)` with soft targets, under `layers`, which are shared and change.

    `read` is what each layer reads, `results` are its results. `losses` is memory for the loss of each sample.
    """

    def __init__(
        self, layers: Sequence[CodedLayer], x: Floats, shares: Floats, loss_of: SoftLoss, losses: Floats
    ) -> None:
        self.layers, self.x, self.shares, self.loss_of, self.losses = layers, x, shares, loss_of, losses
        self.read, self.results, losses[:] = self._onward(0, [self._rounded(0, x, layers[0].fraction, layers[0].top)])

    def outcome(self, change: Change) -> Outcome:
        """What a change gives."""
        number, row = change.layer, change.row
        if change.is_of_input:
            source = self.results[number - 1] if number else self.x
            here = slice(change.column, change.column + 1)
            fraction, top = self.layers[number].fraction[here], self.layers[number].top[here]
            new = np.array([change.value], np.float32)
            fraction, top = (new, top) if change.kind == "fraction" else (fraction, new)
            line = self._rounded(number, source[here], fraction, top)[0]
            return self._behind(number, change.column, None, line)
        step = np.float32(change.value - change.old(self.layers))
        more = step * self.read[number][change.column] if change.kind == "weight" else step
        if number + 1 == len(self.layers):
            results = self.results[number].copy()
            results[row] += more
            return Outcome(None, None, [results], [], self.loss_of.losses(results, self.shares))
        result = self.results[number][row] + more
        above = self.layers[number + 1]
        fraction, top = above.fraction[row : row + 1], above.top[row : row + 1]
        line = self._rounded(number + 1, result[None], fraction, top)[0]
        return self._behind(number + 1, row, result, line)

    def take(self, change: Change, outcome: Outcome) -> None:
        """Go on from what a change gives."""
        first, place = len(self.layers) - len(outcome.results), change.column if change.is_of_input else change.row
        if outcome.result is not None:
            self.results[first - 1][place] = outcome.result
        if outcome.line is not None:
            self.read[first][place] = outcome.line
        self.results[first:] = outcome.results
        self.read[first + 1 :] = outcome.read
        self.losses[:] = outcome.losses

    def _behind(self, number: int, place: int, result: Floats | None, line: Floats) -> Outcome:
        """What it gives that a layer reads another line of one of its inputs."""
        results = self.results[number] + self.layers[number].weight[:, place, None] * (line - self.read[number][place])
        read, found, losses = self._onward(number + 1, [], [results])
        return Outcome(result, line, found, read, losses)

    def _onward(
        self, number: int, read: list[Floats], results: Sequence[Floats] = ()
    ) -> tuple[list[Floats], list[Floats], Floats]:
        """Go on at layer `number`, from what it reads or from the results before it."""
        found = list(results)
        for place, own in enumerate(self.layers[number:]):
            if place == len(read):
                read.append(self._rounded(number + place, found[-1], own.fraction, own.top))
            found.append(own.weight @ read[-1] + own.bias[:, None])
        return read, found, self.loss_of.losses(found[-1], self.shares)

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
        codes *= 1 / scale
        return codes
