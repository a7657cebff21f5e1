"""Exhaustive search: one trial for each point. In a large space `run/block_by_block.py` runs it, with these options."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Annotated, Literal

from annotated_types import Ge

from chop.actions.search.search_space.base import Point
from chop.actions.search.strategies.base import STRATEGIES, SearchStrategyBase, StrategyContext, Values
from chop.config.keys import documented

LARGEST_SHUFFLED_LIST = 1_000_000


@dataclass(frozen=True)
class BruteForceOptions:
    """The options of brute force."""

    order: Literal["index", "random"] = documented(
        "index", "The order of the points: by their index, or a random one that is drawn from the seed."
    )
    landscape: bool = documented(False, "Whether the metrics of all points are written to `landscape.parquet`.")
    most_model_runs: Annotated[int, Ge(1)] = documented(
        10_000, "A larger number of points is refused where a runner must run the model itself for each."
    )


@STRATEGIES.register("brute_force")
class BruteForce(SearchStrategyBase):
    """Proposes each distinct point of the space once; with `n_trials` below its size, that many.

    What it was told before its first point, by earlier searches, it leaves out.
    """

    Options = BruteForceOptions
    needs_budget = False
    asks_ahead = True
    exhaustive = True
    purpose = "the exact optimum, where time allows to measure every point"

    @classmethod
    def asks_by_index(cls, options: BruteForceOptions) -> bool:
        return options.order == "index"

    def __init__(self, context: StrategyContext, options: BruteForceOptions | None = None) -> None:
        super().__init__(context, options)
        self._known: set[tuple[int, ...]] = set()
        self._points = self._new_points()
        self._has_begun = False

    def ask(self, n: int) -> list[Point]:
        self._has_begun = True
        return list(islice(self._points, n))

    def tell(self, points: Sequence[Point], values: Sequence[Values]) -> None:
        if not self._has_begun:
            self._known |= {self.space.key(point) for point in points}

    def _new_points(self) -> Iterator[Point]:
        for index in self._order():
            point = self.space.point(index)
            if not self._known or self.space.key(point) not in self._known:
                yield point

    def _order(self) -> Iterator[int]:
        if self.options.order == "index":
            return iter(range(self.space.size))
        return random_order(self.space.size, self.context.seed)


def random_order(size: int, seed: int) -> Iterator[int]:
    """The numbers `0 … size - 1` once each in an order drawn from `seed`, without a list in memory.

    >>> sorted(random_order(5, seed=1))
    [0, 1, 2, 3, 4]
    """
    generator = random.Random(seed)
    if size <= LARGEST_SHUFFLED_LIST:
        yield from generator.sample(range(size), size)
        return
    yield from _feistel_order(size, [generator.getrandbits(64) for _ in range(6)])


def _feistel_order(size: int, keys: list[int]) -> Iterator[int]:
    """A permutation by a Feistel network over the next power of four, numbers beyond `size` skipped."""
    half = (max(size - 1, 1).bit_length() + 1) // 2
    mask = (1 << half) - 1
    for number in range(1 << (2 * half)):
        left, right = number >> half, number & mask
        for key in keys:
            left, right = right, left ^ (hash((right, key)) & mask)
        mixed = (left << half) | right
        if mixed < size:
            yield mixed
