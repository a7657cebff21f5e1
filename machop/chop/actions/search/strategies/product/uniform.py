"""Uniform precision: proposes the same formats in every layer, the baseline for any search."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from chop.actions.search.strategies.base import STRATEGIES, StrategyContext
from chop.actions.search.strategies.product.base import Code, ProductStrategy
from chop.actions.search.strategies.product.uniform_codes import uniform_codes


@STRATEGIES.register("uniform")
class Uniform(ProductStrategy):
    """Proposes the same formats in every layer: each choice once, most bits first."""

    needs_budget = False
    asks_ahead = True
    purpose = "a baseline: few configurations, the same formats in every layer"

    def __init__(self, context: StrategyContext, options: Any = None) -> None:
        super().__init__(context, options)
        self._left = [tuple(map(int, code)) for code in uniform_codes(self.axes, every=True)]

    def proposals(self, n: int) -> Iterable[Code]:
        proposed, self._left = self._left[:n], self._left[n:]
        return proposed
