"""Base of strategies for product spaces: points as codes, and the values told so far."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from math import prod
from typing import Any

import numpy as np

from chop.actions.search.search_space.base import Point
from chop.actions.search.search_space.codes import Axis, code_of, index_of
from chop.actions.search.strategies.base import SearchStrategyBase, StrategyContext, Values
from chop.actions.search.strategies.known_values import KnownValues
from chop.actions.search.strategies.product.choice_levels import axis_bits
from chop.errors import SearchError
from chop.record.front import Front

Array = np.ndarray[Any, Any]
Code = tuple[int, ...]
"""The number of the alternative at each axis."""

LARGEST_NUMBER = 2**62
"""Spaces with so many points have numbers that no array holds."""

FAILED = 1e29
"""Values beyond it stand for a trial without metrics."""


class ProductStrategy(SearchStrategyBase):
    """A strategy that sees points as codes and values as costs (less is better), and never repeats a point.

    Raises SearchError for a space that is no product.
    """

    constraints = True

    def __init__(self, context: StrategyContext, options: Any = None) -> None:
        super().__init__(context, options)
        axes = context.space.axes()
        if axes is None:
            raise SearchError(
                f"the strategy {type(self).__name__} needs a space that is a product of choices of nodes, and this one "
                "is not (a node with more than 100,000 choices, perhaps); use optuna, or shorter lists"
            )
        self.axes: list[Axis] = axes
        self.sizes = tuple(len(axis) for axis in axes)
        self.known = context.known or KnownValues.nothing(context.directions, context.constraints)
        self.random = np.random.default_rng(context.seed)
        self.told: dict[Code, Array] = {}
        """The values of points: objectives, then violations of constraints; infinite if a trial failed."""

    def ask(self, n: int) -> list[Point]:
        found: list[Point] = []
        for code in self.proposals(n):
            found.append(self.space.point(self.index(code)))
            if len(found) == n:
                break
        return found

    @abstractmethod
    def proposals(self, n: int) -> Iterable[Code]:
        """Codes to measure next, best first; more than `n` are cut off."""

    def tell(self, points: Sequence[Point], values: Sequence[Values]) -> None:
        for point, own in zip(points, values, strict=True):
            index = self.space.index(point)
            assert index is not None
            costs = self.known.turned(own)
            self.told[self.code(index)] = np.where(np.abs(costs) > FAILED, np.inf, costs)

    def index(self, code: Sequence[int]) -> int:
        """The number of a point in the space, of any size."""
        return index_of(code, self.sizes)

    def code(self, index: int) -> Code:
        """The point with a number."""
        return tuple(code_of(index, self.sizes))

    def widest(self) -> Code:
        """The point with most bits on every axis; of equal choices the first."""
        return tuple(int(axis_bits(axis).argmax()) for axis in self.axes)

    @cached_property
    def size(self) -> int:
        """The number of points."""
        return prod(self.sizes)

    def measured(self) -> tuple[Array, Array]:
        """The codes `(points, axes)` and costs `(points, values)` of all trials that have metrics."""
        rows = [(code, costs) for code, costs in self.told.items() if np.isfinite(costs).all()]
        codes = np.array([code for code, _ in rows], dtype=np.int64).reshape(-1, len(self.sizes))
        costs = np.array([costs for _, costs in rows]).reshape(-1, self.known.objectives + self.known.constraints)
        return codes, costs

    def is_within(self, costs: Array) -> Array:
        """Which of `costs` `(points, values)` satisfy all constraints."""
        return np.asarray((costs[:, self.known.objectives :] <= 0).all(axis=1))

    def front_of(self, costs: Array) -> Array:
        """The rows of `costs` on the front of those within the constraints; if none is, the smallest violation."""
        if not len(costs):
            return np.empty(0, dtype=np.int64)
        rows = np.flatnonzero(self.is_within(costs))
        if not len(rows):
            return np.array([np.maximum(0.0, costs[:, self.known.objectives :]).sum(1).argmin()])
        front: Array = Front.of(costs[rows, : self.known.objectives], rows).index
        return front

    def random_codes(self, count: int) -> Array:
        """Points drawn uniformly, `(count, axes)`."""
        return self.random.integers(0, self.sizes, (count, len(self.sizes)))

    def neighbours(self, codes: Array) -> Array:
        """All points that differ from one of `codes` on one axis, `(points, axes)`; they may repeat."""
        found = []
        for axis, size in enumerate(self.sizes):
            changed = np.repeat(codes, size, axis=0)
            changed[:, axis] = np.tile(np.arange(size), len(codes))
            found.append(changed)
        return np.concatenate(found)

    def new_codes(self, codes: Array) -> Array:
        """The points of `codes` `(points, axes)` without known values, each once, in the order of the space."""
        if self.size >= LARGEST_NUMBER:
            return np.array(list(self.unseen(np.unique(codes, axis=0))), np.int64).reshape(-1, len(self.sizes))
        told = np.array(list(self.told), np.int64).reshape(-1, len(self.sizes))
        numbers = np.setdiff1d(*(np.ravel_multi_index(tuple(one.T), self.sizes) for one in (codes, told)))
        return np.stack(np.unravel_index(numbers, self.sizes), 1)

    def unseen(self, codes: Iterable[Sequence[int]]) -> Iterator[Code]:
        """The points of `codes` without known values, each once."""
        given: set[Code] = set()
        for code in codes:
            own = tuple(int(alternative) for alternative in code)
            if own not in self.told and own not in given:
                given.add(own)
                yield own
