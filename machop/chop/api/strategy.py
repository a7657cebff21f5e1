"""Registers strategies that are given as classes or objects, so that a search finds them by name."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any, ClassVar

from chop.actions.search.search_space.base import Point
from chop.actions.search.strategies.base import STRATEGIES, SearchStrategyBase, StrategyContext, Values
from chop.errors import ChopError, ConfigError


def strategy_name(strategy: Any) -> str:
    """The name of a strategy: of `ch info strategy`, or a class or an object with `ask(n)`.

    Raises ConfigError for anything else.
    """
    try:
        if isinstance(strategy, str):
            return strategy
        if isinstance(strategy, type) and issubclass(strategy, SearchStrategyBase):
            return STRATEGIES.adopt(strategy, strategy.__name__)
        if isinstance(strategy, type) and hasattr(strategy, "ask"):
            strategy = strategy()
        if callable(getattr(strategy, "ask", None)):
            return STRATEGIES.adopt(_class_of(strategy), type(strategy).__name__)
    except ChopError as error:
        raise ConfigError([f"strategy: {error}"]) from error
    except TypeError as error:
        raise ConfigError([f"strategy: {strategy.__name__}() failed ({error}): give an object of it"]) from error
    raise ConfigError(
        [f"strategy: expected a name of ch info strategy, or a class or object with ask, got {strategy!r}"]
    )


class _Of(SearchStrategyBase):
    """Asks a copy of an object of the user's own, so that the object itself can begin another search."""

    given: ClassVar[Any]

    def __init__(self, context: StrategyContext, options: Any = None) -> None:
        super().__init__(context, options)
        self._own = copy.deepcopy(self.given)
        if hasattr(self._own, "begin"):
            self._own.begin(context)

    def ask(self, n: int) -> list[Point]:
        points: list[Point] = self._own.ask(n)
        return points

    def tell(self, points: Sequence[Point], values: Sequence[Values]) -> None:
        if hasattr(self._own, "tell"):
            self._own.tell(points, values)


def _class_of(strategy: Any) -> type[SearchStrategyBase]:
    """The class of a search's strategy that asks `strategy`, with what it says of itself."""
    said = (
        "multi_objective",
        "needs_budget",
        "asks_ahead",
        "exhaustive",
        "constraints",
        "batch",
        "purpose",
        "training",
    )
    own = {name: getattr(strategy, name) for name in said if hasattr(strategy, name)}
    return type(type(strategy).__name__, (_Of,), {"given": strategy, **own})
