"""Search strategies: the algorithms that propose points."""

from chop.actions.search.strategies.base import STRATEGIES, SearchStrategyBase, StrategyContext, Values, Variant

__all__ = ["STRATEGIES", "SearchStrategyBase", "StrategyContext", "Values", "Variant"]
