"""The plans of a search space that a training draws: the widest, the narrowest, and random ones."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import Protocol

from chop.formats import FLOAT_BITS, Format
from chop.ir import MaseGraph, QuantPlan

TYPICAL_SHAPE = (64, 64)
"""The shape of a tensor whose bits tell which of two formats is wider."""

Point = Mapping[str, int]


class PlanSpace(Protocol):
    """What a training needs of a search space (`chop.actions.search.search_space.SearchSpaceBase`)."""

    @property
    def graph(self) -> MaseGraph:
        """The network, in float; a training changes its weights."""

    @property
    def calibration_rows(self) -> int | None:
        """How many training samples ranges are measured on; None: none is needed."""

    @property
    def size(self) -> int:
        """The number of distinct points."""

    @property
    def choice_lengths_flattened(self) -> dict[str, int]:
        """The number of choices of each key."""

    def possible_formats(self) -> Mapping[tuple[str, str], Sequence[Format]] | None:
        """The formats that each operand of each node may have; None: unknown."""

    def point(self, index: int) -> Point:
        """The distinct point number `index`."""

    def plan(self, point: Point) -> QuantPlan:
        """The plan of a point."""


def drawn_plan(space: PlanSpace, rng: random.Random) -> QuantPlan:
    """A plan of the space; each of its distinct networks is equally likely."""
    return space.plan(space.point(rng.randrange(space.size)))


def widest_plan(space: PlanSpace) -> QuantPlan:
    """The plan that keeps the most bits a value, in all operands together; what has no format keeps 32."""
    return space.plan(_extreme(space, 1))


def narrowest_plan(space: PlanSpace) -> QuantPlan:
    """The plan that keeps the fewest bits a value."""
    return space.plan(_extreme(space, -1))


def probe_plans(space: PlanSpace, count: int, seed: int) -> list[QuantPlan]:
    """A fixed set of different plans: the widest, the narrowest, and random ones up to `count`."""
    rng = random.Random(seed)
    found = dict.fromkeys([widest_plan(space), narrowest_plan(space)])
    for _ in range(20 * count):
        if len(found) >= min(count, space.size):
            break
        found.setdefault(drawn_plan(space, rng))
    return list(found)[: max(count, 1)]


def _extreme(space: PlanSpace, turn: int) -> Point:
    """The point with the most (`turn` 1) or the fewest (-1) bits: key by key, until no other choice has more."""
    lengths = {key: length for key, length in space.choice_lengths_flattened.items() if length > 1}
    point = dict.fromkeys(lengths, 0)
    best = turn * _bits(space.plan(point))
    improves = True
    while improves:
        improves = False
        for key, length in lengths.items():
            for index in range(length):
                found = turn * _bits(space.plan({**point, key: index}))
                if found > best:
                    point, best, improves = {**point, key: index}, found, True
    return point


def _bits(plan: QuantPlan) -> int:
    """Bits of a tensor of one shape in each format of a plan, less those that it would take in float."""
    in_float = FLOAT_BITS * TYPICAL_SHAPE[0] * TYPICAL_SHAPE[1]
    return sum(chosen.bits(TYPICAL_SHAPE) - in_float for _, formats in plan.choices for _, chosen in formats)
