"""Sensitivity search: its trials change one layer each, then it proposes the exact front of the summed effects."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from chop.actions.search.strategies.base import STRATEGIES, StrategyContext
from chop.actions.search.strategies.product.base import Array, Code, ProductStrategy
from chop.record.front import Front

MOST_SCORED = 2_000_000
"""Points up to which a space is scored as a whole; beyond it the front of sums is built axis by axis."""

MOST_KEPT = 3_000
"""Partial choices that are kept from one axis to the next at the most."""


@STRATEGIES.register("sensitivity")
class Sensitivity(ProductStrategy):
    """From the widest formats, every choice of every layer alone; then the front of the additive model.

    The predicted front is measured and removed, then the next one. Errors of layers that add up are found at once;
    where layers compound each other's errors, at two or three bits, the sums mislead: see `surrogate`.
    """

    batch = 16
    needs_budget = False
    purpose = "layers that hardly interact (four bits and more): the whole front from one probe per choice"

    def __init__(self, context: StrategyContext, options: Any = None) -> None:
        super().__init__(context, options)
        self._base = self.widest()
        self._probes = [self._base, *self._single_changes()]
        self._verified: Iterator[Code] | None = None

    def proposals(self, n: int) -> Iterable[Code]:
        left = [code for code in self._probes if code not in self.told]
        if left and self._verified is None:
            return left
        self._verified = self._verified or self._predicted_fronts()
        return self.unseen(self._take(n))

    def _take(self, n: int) -> Iterator[Code]:
        assert self._verified is not None
        count = 0
        for code in self._verified:
            if code not in self.told:
                yield code
                count += 1
            if count == n:
                return

    def _single_changes(self) -> list[Code]:
        """The base with one axis changed; within an axis the smallest change of cost first."""
        found = []
        for axis, size in enumerate(self.sizes):
            codes = np.repeat(np.array([self._base]), size, axis=0)
            codes[:, axis] = np.arange(size)
            found += [tuple(map(int, code)) for code in codes if tuple(code) != self._base]
        return found

    def _effects(self) -> list[Array]:
        """For each axis the effects of its choices on the measured values, `(size, values)`; they add up.

        An alternative whose probe failed counts as the worst that was seen.
        """
        codes = np.array(self._probes, dtype=np.int64)
        costs = np.array([self.told[code] for code in self._probes])
        finite = np.isfinite(costs).all(1)
        worst = costs[finite].max(0) if finite.any() else np.zeros(costs.shape[1])
        missing = np.where(finite[:, None], costs, worst) - self.known.costs(codes)
        share = missing[0] / len(self.sizes)
        effects = [np.tile(share, (size, 1)) for size in self.sizes]
        for code, own in zip(self._probes[1:], missing[1:] - missing[0], strict=True):
            axis = next(a for a, (new, old) in enumerate(zip(code, self._base, strict=True)) if new != old)
            effects[axis][code[axis]] += own
        return effects

    def _predicted_fronts(self) -> Iterator[Code]:
        """The points of the predicted front, then of the next front, and so on."""
        effects = self._effects()
        codes = self._all_codes() if self.size <= MOST_SCORED else self._promising(effects)
        costs = self._predicted(codes, effects)
        left = np.arange(len(codes))
        while len(left):
            rows = left[self.front_of(costs[left])]
            yield from (tuple(map(int, codes[row])) for row in _outside_in(costs[rows], rows))
            left = left[~np.isin(left, rows)]

    def _all_codes(self) -> Array:
        return np.stack(np.unravel_index(np.arange(self.size), self.sizes), 1)

    def _predicted(self, codes: Array, effects: list[Array]) -> Array:
        """The costs `(points, values)` that the additive model predicts."""
        added = sum(own[codes[:, axis]] for axis, own in enumerate(effects))
        return np.asarray(self.known.costs(codes) + added)

    def _promising(self, effects: list[Array]) -> Array:
        """The front of sums built axis by axis, the other axes at the base, with all its neighbours."""
        codes = np.array([self._base], dtype=np.int64)
        for axis, size in enumerate(self.sizes):
            longer = np.repeat(codes, size, axis=0)
            longer[:, axis] = np.tile(np.arange(size), len(codes))
            costs = self._predicted(longer, effects)[:, : self.known.objectives]
            kept = Front.of(costs, np.arange(len(longer))).index
            step = max(1, len(kept) // MOST_KEPT)
            codes = longer[np.sort(kept)[::step]]
        return np.unique(np.concatenate([codes, self.neighbours(codes)]), axis=0)


def _outside_in(costs: Array, rows: Array) -> Array:
    """The rows of a front ordered so that any first few of them are spread along it: ends, middle, quarters …"""
    return np.asarray(rows[np.argsort(costs[:, 0], kind="stable")][_halving(len(rows))])


def _halving(count: int) -> Array:
    """The numbers below `count`: first and last, then the middle of each gap in turn.

    >>> _halving(5).tolist()
    [0, 4, 2, 1, 3]
    """
    positions = np.linspace(0, count - 1, 2 ** max(0, int(np.ceil(np.log2(max(count - 1, 1))))) + 1)
    numbers = np.arange(len(positions))
    level = np.where(numbers % (len(positions) - 1) == 0, 2**31, numbers & -numbers)
    order = np.lexsort((numbers, -level))
    return np.array(list(dict.fromkeys(np.round(positions[order]).astype(int).tolist())), dtype=np.int64)
