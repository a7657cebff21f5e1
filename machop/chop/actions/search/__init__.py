"""Searches for the best number formats and weight transforms of a network."""

from chop.actions.search.run.publish import SearchResult
from chop.actions.search.search import run_search, search
from chop.actions.search.search_space import SearchSpaceBase
from chop.actions.search.strategies import STRATEGIES, SearchStrategyBase
from chop.actions.search.strategies.runners import RUNNERS, SWRunnerBase

__all__ = [
    "RUNNERS",
    "STRATEGIES",
    "SWRunnerBase",
    "SearchResult",
    "SearchSpaceBase",
    "SearchStrategyBase",
    "run_search",
    "search",
]
