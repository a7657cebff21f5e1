"""Keys of tables say what they mean."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from chop.actions.search import STRATEGIES
from chop.actions.search.settings.strategy_setup import StrategySetup
from chop.config.json_schema import table_schema
from chop.config.keys import Key, documented, keys_of


@dataclass(frozen=True)
class Table:
    """A table with keys of several kinds."""

    needed: str = documented(meaning="A text that must be given.")
    plain: int = 3
    sizes: list[int] = documented(made_by=list, meaning="Sizes, say.")


@pytest.mark.parametrize("name", ["every strategy", *STRATEGIES.working()])
def test_each_key_of_a_strategy_has_a_meaning(name: str) -> None:
    keys = keys_of(StrategySetup if name == "every strategy" else STRATEGIES[name].Options)
    assert [own.name for own in keys if not own.meaning.endswith(".")] == []


def test_keys_are_described_with_their_values_and_defaults() -> None:
    assert keys_of(Table) == [
        Key("needed", "text", "", "A text that must be given."),
        Key("plain", "whole number", "3", ""),
        Key("sizes", "a list: whole number", "", "Sizes, say."),
    ]
    assert Table(needed="a").sizes == []
    assert table_schema(Table)["required"] == ["needed"]
