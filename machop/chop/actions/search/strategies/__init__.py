"""Search strategies."""

from chop.actions.search.strategies.base import STRATEGIES, SearchStrategyBase, StrategyContext, Values, Variant

__all__ = ["STRATEGIES", "SearchStrategyBase", "StrategyContext", "Values", "Variant"]
