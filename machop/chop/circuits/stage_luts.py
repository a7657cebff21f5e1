"""LUTs and registers of single stages by alkaid: each distinct piece of logic is solved once, and kept by its content.

A sum over stages leaves out what alkaid gains or loses between them; whole circuits (`circuit_costs`) are exact.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable
from dataclasses import fields, replace
from typing import Any, NamedTuple

import numpy as np

from chop.circuits.alkaid_trace import Tracer
from chop.circuits.facts import circuit_costs_of, waiting_bits
from chop.circuits.liveness import Mask, by_output
from chop.circuits.solutions import Solutions, Solved, key_of
from chop.circuits.stages import PADDING, Add, Affine, Clip, Maximum, Port, Round, Select, Stage, with_padding
from chop.circuits.values import Integers, Range, bit_length
from chop.formats.grid import Grid

STAGE_LUTS = 5
"""Numbers of a stage: those of `Solved`, but in the place of `bits` half of those of an input of the circuit."""

STEPS = 2**30
"""Steps of a LUT, and of a delay, that are counted: so sums are exact, and their order plays no part."""

ABSENT = -1
"""Zero bits of a value that a window does not have."""

NOTHING = Solved(0.0, 0.0, 0.0, 0.0, 0.0)


class Piece(NamedTuple):
    """A piece of logic that alkaid solves on its own: a stage, and the ranges of its inputs."""

    stage: Stage
    given: tuple[Range, ...]

    @property
    def content(self) -> list[Any]:
        """All that decides its solution."""
        return [stage_content(self.stage), *((own.low, own.high, own.frac, own.zeros) for own in self.given)]

    @property
    def size(self) -> int:
        """About how long it takes to solve: the products that it adds up."""
        return int(np.count_nonzero(self.stage.weight)) if isinstance(self.stage, Affine) else 1


class StageLuts:
    """The LUTs, the delay and the waiting bits of stages; `solutions` keeps what was solved."""

    def __init__(self, solutions: Solutions) -> None:
        self.solutions = solutions
        self._seen: dict[Hashable, Solved] = {}
        """By what is quick to compare: a look-up by content takes a hundred times as long."""

    def __call__(self, stage: Stage, source: Stage | None, given: tuple[Range, ...], live: Mask) -> tuple[float, ...]:
        """The numbers of a stage, for the elements `live` of its result."""
        if isinstance(stage, Port):
            return NOTHING._replace(bits=float(stage.range_of().bits[live].sum()) / 2)
        if isinstance(stage, Select) or not live.any():
            return NOTHING
        if isinstance(stage, Affine):
            return self._affine(stage, source, given[0], live)._replace(bits=0.0)
        return self._by_element(stage, given, live)._replace(bits=0.0)

    def _affine(self, stage: Affine, source: Stage | None, x: Range, live: Mask) -> Solved:
        """The sums of every position; positions that read equal ranges are solved once."""
        x = _filled(x, source)
        used, parts = by_output(stage, live), []
        flat = [own.ravel() for own in (x.low, x.high, x.zeros)]
        varies = ~x.is_constant.ravel()
        for group, positions in enumerate(stage.index):
            for position, index in enumerate(positions):
                kept = [place for place, own in enumerate(index) if own != PADDING and varies[own]]
                weight = stage.weight[group][np.ix_(used[group, position], kept)]
                read = [own[index[kept]] for own in flat]
                parts.append(self._sums(weight, stage.weight_frac, Range(read[0], read[1], x.frac, read[2])))
        return _joined(parts)

    def _sums(self, weight: Integers, frac: int, x: Range) -> Solved:
        """The sums of one position without their bias, which costs next to nothing."""
        columns = np.any(weight != 0, axis=0)
        rows = np.any(weight != 0, axis=1)
        if not rows.any():
            return NOTHING
        weight = weight[np.ix_(rows, columns)]
        x = Range(x.low[columns], x.high[columns], x.frac, x.zeros[columns])
        parts = (weight, x.low, x.high, x.zeros)
        key = ("sums", weight.shape, frac, x.frac, *(own.tobytes() for own in parts))
        if key not in self._seen:
            self._seen[key] = self._solved(_sums_of(weight, frac, x))
        return self._seen[key]

    def _by_element(self, stage: Stage, given: tuple[Range, ...], live: Mask) -> Solved:
        """A stage that treats each element alike: equal ones are looked up once."""
        numbers = _numbers_of(stage, given)[np.broadcast_to(live, stage.shape).ravel()]
        contents = [row.tobytes() for row in numbers]
        counts, rows = Counter(contents), dict(zip(contents, numbers, strict=True))
        fracs, kind = [own.frac for own in given], _kind_of(stage)
        parts = []
        for content, row in rows.items():
            key = (kind, *fracs, content)
            if key not in self._seen:
                self._seen[key] = self._solved(_one_element(stage, fracs, row))
            parts.append(self._seen[key])
        return _joined(parts, np.array([counts[content] for content in rows], np.int64))

    def _solved(self, piece: Piece) -> Solved:
        return self.solutions.get(piece.content, lambda: solve(piece))


class MissingPieces(StageLuts):
    """Collects the pieces that `solutions` lacks, and solves none: the numbers that it returns mean nothing."""

    def __init__(self, solutions: Solutions) -> None:
        super().__init__(solutions)
        self.pieces: dict[str, Piece] = {}

    def _solved(self, piece: Piece) -> Solved:
        key = key_of(piece.content)
        if self.solutions.find(key) is None:
            self.pieces[key] = piece
        return NOTHING


def solve(piece: Piece) -> Solved:
    """The numbers of a piece of logic."""
    tracer = Tracer()
    outputs = tracer.result(piece.stage, [tracer.inputs_of(own) for own in piece.given])
    varying = [own for own in outputs.ravel() if own.low != own.high]
    if not tracer.inputs or not varying:
        return NOTHING
    logic = tracer.logic(varying)
    costs = circuit_costs_of(logic)
    numbers = (costs.luts, costs.luts_fused, costs.depth, *waiting_bits(logic))
    return Solved(*(round(own * STEPS) / STEPS for own in numbers))


def _sums_of(weight: Integers, frac: int, x: Range) -> Piece:
    """The sums of inputs `(inputs,)` by weights `(outputs, inputs)`."""
    outputs, inputs = weight.shape
    index, zeros = np.arange(inputs).reshape(1, 1, -1), np.zeros(outputs, np.int64)
    return Piece(Affine("sums", ("x",), (outputs, 1), index, weight[None], frac, zeros, 0), (x,))


def stage_content(stage: Stage) -> list[Any]:
    """All that decides a stage's logic but the ranges that come in."""
    fields = {name: value for name, value in vars(stage).items() if name in type(stage).__dataclass_fields__}
    own = {name: value for name, value in fields.items() if name not in ("name", "sources")}
    grid = own.pop("grid", None)
    numbers = [] if grid is None else [grid.frac, grid.low, grid.high, grid.rounds_down]
    return [type(stage).__name__, sorted(own.items()), numbers]


def _filled(x: Range, source: Stage | None) -> Range:
    """The ranges that a layer is solved for: all of its input's format where a value varies, at least of its sign.

    So the solutions of a layer are those of its formats, and not of all that may come before.
    """
    if not isinstance(source, (Round, Port)):
        return x
    full = Port(source.name, (), source.shape, source.grid).range_of()
    low, high, zeros = (np.broadcast_to(own, x.shape) for own in (full.low, full.high, full.zeros))
    shift = max(full.frac, x.frac) - full.frac
    low, high, zeros, frac = low << shift, high << shift, zeros + shift, full.frac + shift
    own = (x.low << (frac - x.frac), x.high << (frac - x.frac))
    low = np.where(x.is_constant, own[0], np.where(x.low >= 0, 0, low))
    high = np.where(x.is_constant, own[1], np.where(x.high <= 0, 0, high))
    return Range(low, high, frac, zeros)


def _numbers_of(stage: Stage, given: tuple[Range, ...]) -> Integers:
    """All that decides the logic of each element `(elements, numbers)`: its grid, and the ranges that it reads.

    Ranges are widened to whole numbers of bits, so that few differ.
    """
    columns: list[Integers] = []
    if isinstance(stage, Round):
        grid = (stage.grid.frac, stage.grid.low, stage.grid.high)
        columns += [np.broadcast_to(own, stage.shape).reshape(-1, 1) for own in grid]
    for own in map(_widened, given):
        for part, outside in ((own.low, 0), (own.high, 0), (own.zeros, ABSENT)):
            if isinstance(stage, Maximum):
                columns.append(with_padding(part.reshape(1, -1), outside)[0][stage.index])
            else:
                columns.append(np.broadcast_to(part, stage.shape).reshape(-1, 1))
    return np.concatenate(columns, axis=1)


def _kind_of(stage: Stage) -> Hashable:
    """All that decides the logic of an element beside its row of `_numbers_of`."""
    skipped = ("name", "sources", "shape", "grid", "index")
    own = tuple(getattr(stage, field.name) for field in fields(stage) if field.name not in skipped)
    return type(stage), isinstance(stage, Round) and stage.grid.rounds_down, own


def _one_element(stage: Stage, fracs: list[int], numbers: Integers) -> Piece:
    """One element of a stage as a stage of its own, with the ranges that it reads, from its row of `_numbers_of`."""
    if isinstance(stage, Maximum):
        low, high, zeros = (part[numbers.reshape(3, -1)[2] != ABSENT] for part in numbers.reshape(3, -1))
        one = Maximum("one", ("x",), (1,), np.arange(len(low)).reshape(1, -1))
        return Piece(one, (Range(low, high, fracs[0], zeros),))
    first = 3 if isinstance(stage, Round) else 0
    reads = tuple(
        Range(own[0].reshape(1), own[1].reshape(1), frac, own[2].reshape(1))
        for own, frac in zip(numbers[first:].reshape(-1, 3), fracs, strict=True)
    )
    if isinstance(stage, Round):
        frac, low, high = (own.reshape(1) for own in numbers[:3])
        grid = Grid(frac, low, high, stage.grid.rounds_down)
        return Piece(Round("one", ("x",), (1,), grid, stage.is_relu), reads)
    assert isinstance(stage, (Clip, Add))
    return Piece(replace(stage, name="one", shape=(1,)), reads)


def _widened(own: Range) -> Range:
    """Ranges that fill their bits, so that few differ; constants stay."""
    zeros = np.minimum(own.zeros, 60)
    reach = np.maximum(-own.low, own.high + 1) - 1
    full = np.int64(1) << bit_length(reach)
    step = np.int64(1) << zeros
    low = np.where(own.is_constant, own.low, np.where(own.low < 0, -full, 0))
    high = np.where(own.is_constant, own.high, np.where(own.high > 0, full - step, 0))
    return Range(low, high, own.frac, own.zeros)


def _joined(parts: list[Solved], counts: Integers | None = None) -> Solved:
    """The sums of parts, each as often as `counts` says; the results of all wait for the slowest."""
    if not parts:
        return NOTHING
    luts, fused, depth, waiting, bits = np.array(parts).T
    counts = np.ones(len(parts), np.int64) if counts is None else counts
    waiting = waiting + bits * (depth.max() - depth)
    luts, fused, waiting, bits = ((own * counts).sum() for own in (luts, fused, waiting, bits))
    return Solved(float(luts), float(fused), float(depth.max()), float(waiting), float(bits))
