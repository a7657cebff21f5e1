"""Ageing (regularised) evolution on a population that starts with uniform formats."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice
from typing import Annotated

import numpy as np
from annotated_types import Ge, Interval

from chop.actions.search.strategies.base import STRATEGIES, StrategyContext
from chop.actions.search.strategies.product.base import Array, Code, ProductStrategy
from chop.actions.search.strategies.product.uniform_codes import uniform_codes
from chop.config.keys import documented
from chop.record.front import Front

TRIES = 50
"""Mutations that are tried for one that is new."""


@dataclass(frozen=True)
class EvolutionOptions:
    """The options of ageing evolution."""

    population_size: Annotated[int, Ge(2)] = documented(50, "How many of the latest points are the population.")
    tournament_size: Annotated[int, Ge(1)] = documented(
        5, "How many points of the population are drawn, the best of which is mutated."
    )
    crossover_probability: Annotated[float, Interval(ge=0, le=1)] = documented(
        0.5, "The probability that each choice of a new point comes from a second parent."
    )


@STRATEGIES.register("evolution")
class Evolution(ProductStrategy):
    """Ageing evolution (arXiv:1802.01548): mutates the best of a tournament, and removes the oldest point.

    For several objectives the better of two is the one on the earlier front, then the less crowded one
    (doi:10.1109/4235.996017).
    """

    Options = EvolutionOptions
    purpose = "large budgets of cheap evaluations; needs no model and no order among choices"

    @classmethod
    def problem(cls, options: EvolutionOptions, objectives: int) -> str | None:
        if options.tournament_size > options.population_size:
            return (
                f"tournament_size = {options.tournament_size} is more than population_size = {options.population_size}"
            )
        return super().problem(options, objectives)

    def __init__(self, context: StrategyContext, options: EvolutionOptions | None = None) -> None:
        super().__init__(context, options)
        uniform = self.random.permutation(uniform_codes(self.axes))[: self.options.population_size]
        self._first = [tuple(map(int, code)) for code in uniform]

    def proposals(self, n: int) -> Iterable[Code]:
        first, self._first = self._first[:n], self._first[n:]
        new = list(self.unseen(first))
        if len(self.told) + len(new) >= self.size:
            return new
        while len(new) < n and len(self.told) + len(new) < self.size:
            new += [code for code in self.unseen([self._child(new)]) if code not in new]
        return new

    def _child(self, taken: list[Code]) -> Code:
        """A new point made from the population."""
        codes, ranks = self._population()
        for _ in range(TRIES):
            child = self._mutated(self._crossed(codes, ranks)) if len(codes) else self._drawn()
            if child not in self.told and child not in taken:
                return child
        return self._any_unseen(taken)

    def _population(self) -> tuple[Array, Array]:
        """The latest points, and the rank of each: less is better."""
        latest = list(islice(reversed(self.told.items()), self.options.population_size))[::-1]
        rows = [(code, costs) for code, costs in latest if np.isfinite(costs).all()]
        codes = np.array([code for code, _ in rows], dtype=np.int64).reshape(-1, len(self.sizes))
        return codes, self._ranks(np.array([costs for _, costs in rows]))

    def _ranks(self, costs: Array) -> Array:
        """Ranks by front and crowding; points that violate constraints rank last, by their violation."""
        if not len(costs):
            return np.empty(0)
        excess = np.maximum(0.0, costs[:, self.known.objectives :]).sum(1)
        ranks: Array = 1e6 + excess.argsort().argsort().astype(np.float64)
        left, level = np.flatnonzero(self.is_within(costs)), 0.0
        while len(left):
            objectives = costs[left, : self.known.objectives]
            front = np.flatnonzero((objectives[:, None] == Front.of(objectives, left).costs).all(2).any(1))
            ranks[left[front]] = level + _crowding_place(objectives[front])
            left, level = np.delete(left, front), level + 1
        return ranks

    def _crossed(self, codes: Array, ranks: Array) -> Array:
        """A parent with some choices of another one."""
        first, second = (codes[self._parent(ranks)] for _ in range(2))
        if self.random.random() >= self.options.crossover_probability:
            second = first
        return np.asarray(np.where(self.random.random(len(first)) < 0.5, first, second))

    def _parent(self, ranks: Array) -> int:
        """The best of a tournament."""
        entrants = self.random.integers(0, len(ranks), self.options.tournament_size)
        return int(entrants[ranks[entrants].argmin()])

    def _mutated(self, code: Array) -> Code:
        """The point with a new choice on one axis."""
        open_axes = [axis for axis, size in enumerate(self.sizes) if size > 1]
        if open_axes:
            axis = open_axes[int(self.random.integers(len(open_axes)))]
            code[axis] = (code[axis] + 1 + self.random.integers(self.sizes[axis] - 1)) % self.sizes[axis]
        return tuple(map(int, code))

    def _drawn(self) -> Code:
        return tuple(map(int, self.random_codes(1)[0]))

    def _any_unseen(self, taken: list[Code]) -> Code:
        """The next new point by number, from a random start."""
        start = self.index(self._drawn())
        for step in range(self.size):
            code = self.code((start + step) % self.size)
            if code not in self.told and code not in taken:
                return code
        raise AssertionError("there are points left")


def _crowding_place(costs: Array) -> Array:
    """Ranks from 0 to 1 by crowding distance, the least crowded first."""
    distance: Array = np.zeros(len(costs))
    for column in costs.T:
        order = column.argsort(kind="stable")
        span = float(np.ptp(column)) or 1.0
        distance[order[[0, -1]]] = np.inf
        distance[order[1:-1]] += (column[order[2:]] - column[order[:-2]]) / span
    return np.asarray((-distance).argsort(kind="stable").argsort() / len(costs))
