"""The suite of strategies finds what is wrong with one."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from chop.actions.search.strategies import SearchStrategyBase
from chop.errors import SearchError
from chop.testing.strategies import StrategyCase, StrategyConformance

SUITE = StrategyConformance()


class Sound(SearchStrategyBase):
    """Every point over and over."""

    purpose = "to be found sound"

    def __init__(self, context: Any, options: Any = None) -> None:
        super().__init__(context, options)
        self.asked = 0

    def ask(self, n: int) -> list[Any]:
        first, self.asked = self.asked, self.asked + n
        return [self.space.point(index % self.space.size) for index in range(first, self.asked)]


class Forgetful(Sound):
    def ask(self, n: int) -> list[Any]:
        return [self.space.point(random.randrange(self.space.size)) for _ in range(n)]


class Generous(Sound):
    def ask(self, n: int) -> list[Any]:
        return super().ask(n + 1)


class Meddling(Sound):
    def tell(self, points: Any, values: Any) -> None:
        points[0].update(dict.fromkeys(points[0], 0))


class Outside(Sound):
    def ask(self, n: int) -> list[Any]:
        return [{**point, "_0/config/weight_width": 3} for point in super().ask(n)]


class Stubborn(Sound):
    """Knows only of its own points."""

    def tell(self, points: Any, values: Any) -> None:
        assert self.space.index(points[0]) < self.asked


class Nameless(Sound):
    purpose = ""


def check(strategy: type[SearchStrategyBase], folder: Path) -> None:
    case = StrategyCase.of(strategy)
    SUITE.test_it_searches_for_one_number_at_least(case)
    SUITE.test_it_gives_no_more_points_than_it_is_asked_for(case)
    SUITE.test_a_seed_gives_the_same_trials_again(case, 2, folder / "seed")
    SUITE.test_a_small_space_ends_or_repeats(case)
    SUITE.test_what_it_did_not_ask_for_is_welcome(case, folder / "inherited")


def test_a_sound_strategy_passes(tmp_path: Path) -> None:
    SUITE.test_a_resumed_search_equals_an_unbroken_one(StrategyCase.of(Sound), 3, tmp_path)
    check(Sound, tmp_path)


@pytest.mark.parametrize("strategy", [Forgetful, Generous, Meddling, Outside, Stubborn, Nameless])
def test_an_unsound_strategy_is_found(strategy: type[SearchStrategyBase], tmp_path: Path) -> None:
    with pytest.raises((AssertionError, SearchError)):
        check(strategy, tmp_path)
