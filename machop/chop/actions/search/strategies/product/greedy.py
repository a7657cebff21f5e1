"""Greedy search: from the widest formats downwards, one operand of one layer at a time."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from chop.actions.search.strategies.base import STRATEGIES, StrategyContext
from chop.actions.search.strategies.product.base import Array, Code, ProductStrategy
from chop.actions.search.strategies.product.choice_levels import levels_of


@STRATEGIES.register("greedy")
class Greedy(ProductStrategy):
    """At each step lowers the operand that loses the least quality for what it saves, from all-high to all-low.

    Each step measures the present network with every operand of every layer lowered by one width, and goes on with the
    one that loses least in the measured values for what it gains in the known ones.
    """

    batch = 16
    needs_budget = False
    purpose = "a quick, explainable descent; it never goes back"

    def __init__(self, context: StrategyContext, options: Any = None) -> None:
        super().__init__(context, options)
        self._levels = [levels_of(axis).values for axis in self.axes]
        self._at = self.widest()
        self._steps = [self._at]

    def proposals(self, n: int) -> Iterable[Code]:
        while not (left := [code for code in self._steps if code not in self.told]):
            lower = self._lowered(self._at)
            if not lower:
                return []
            if all(code in self.told for code in lower):
                self._at = self._least_loss(lower)
            self._steps = lower
        return left

    def _lowered(self, code: Code) -> list[Code]:
        """The points that differ on one axis and are the next cheaper ones there."""
        return [
            (*code[:axis], lower, *code[axis + 1 :])
            for axis, own in enumerate(code)
            for lower in self._next_lower(axis, own)
        ]

    def _next_lower(self, axis: int, own: int) -> list[int]:
        """The choices of an axis directly below one: nowhere wider, and nothing in between."""
        levels = self._levels[axis]
        below = np.flatnonzero((levels <= levels[own]).all(1) & (levels < levels[own]).any(1))
        return [
            int(a)
            for a in below
            if not any((levels[b] >= levels[a]).all() and (levels[b] > levels[a]).any() for b in below)
        ]

    def _least_loss(self, codes: list[Code]) -> Code:
        """The point with the least loss of measured metrics relative to its savings."""
        here, there = self.told[self._at], np.array([self.told[code] for code in codes])
        here = np.where(np.isfinite(here), here, 0.0)  # from a network that failed all ways down are as good
        learned = np.array(self.known.is_learned)
        scale = np.ptp(self._finite_costs(), axis=0)
        change = (there - here) / np.where(scale > 0, scale, 1.0)
        loss = np.where(learned, change, 0.0).sum(1)
        saved = np.maximum(-np.where(learned, 0.0, change).sum(1), 1e-9)
        rate = np.where(np.isfinite(loss), loss / np.where(loss > 0, saved, 1 / saved), np.inf)
        return codes[int(rate.argmin())]

    def _finite_costs(self) -> Array:
        _, costs = self.measured()
        return costs if len(costs) else np.zeros((1, len(self.known.is_learned)))
