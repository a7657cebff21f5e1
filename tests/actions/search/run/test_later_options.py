"""An option that is added later ends no earlier search, and a default that changes later is noticed."""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import pytest

from chop.actions.search.search_space.base import SearchSpaceBase, SpaceSetup
from chop.actions.search.search_space.mixed_precision_ptq import MixedPrecisionPTQ
from chop.actions.search.settings import search as settings_of_search
from chop.actions.search.settings import strategy_setup
from chop.actions.search.settings.search import parse_search_settings
from chop.actions.search.settings.strategy_setup import StrategySetup
from chop.actions.search.settings.tables import StrategyTable
from chop.actions.search.strategies.base import STRATEGIES, Training
from chop.actions.search.strategies.runners.base import RUNNERS
from chop.config.keys import documented
from chop.config.later_keys import BEFORE, fingerprint_of_options
from chop.config.space_training import SpaceTrainingOptions
from chop.dataset import MaseDataModule
from chop.errors import ChopError, SearchError
from chop.record.trial import Objective
from chop.record.trials import TrialLog
from chop.training.space_files import Progress, SpaceFiles

FIRST = Path(__file__).with_name("data") / "first_options.json"


SETUPS = (StrategyTable, StrategySetup, SpaceSetup)
"""Tables of which a fingerprint holds some keys by name, and all later ones."""


@dataclass(frozen=True)
class LaterTable(StrategyTable):
    turns: int = documented(1, "Turns.", before=1)


@dataclass(frozen=True)
class LaterSetup(StrategySetup):
    rounds: int = documented(1, "Rounds of tuning.", before=1)


@dataclass(frozen=True)
class LaterSpaceSetup(SpaceSetup):
    margin: int = documented(0, "A margin.", before=0)


@dataclass(frozen=True)
class First:
    rate: float = 0.5


@dataclass(frozen=True)
class Later:
    rate: float = 0.5
    rounds: int = documented(1, "Rounds of tuning.", before=1)


@dataclass(frozen=True)
class OtherDefault:
    rate: float = 0.5
    rounds: int = documented(3, "Rounds of tuning.", before=1)


def resume(path: Path, options: Any) -> None:
    TrialLog.resume(path, {"strategy": ["own", fingerprint_of_options(options)]}).close()


def test_a_search_from_before_an_option_goes_on_where_it_does_what_was_done_before(tmp_path: Path) -> None:
    path = tmp_path / "trials.jsonl"
    TrialLog.create(path, {"strategy": ["own", fingerprint_of_options(First())]}).close()
    resume(path, Later())
    resume(path, OtherDefault(rounds=1))
    for other in (Later(rounds=2), OtherDefault()):
        with pytest.raises(SearchError, match="strategy"):
            resume(path, other)


def test_another_default_is_another_search(tmp_path: Path) -> None:
    path = tmp_path / "trials.jsonl"
    TrialLog.create(path, {"strategy": ["own", fingerprint_of_options(Later())]}).close()
    with pytest.raises(SearchError, match="strategy"):
        resume(path, OtherDefault())


def test_each_option_that_records_of_the_first_version_lack_says_what_was_done_before() -> None:
    """Where this fails, give the new option `before=…`: the value that means what was done without it.

    A key of a setup that decides no figure (`html_report`), or the choices of a space alone, is added to the list.
    """
    assert always_written() == json.loads(FIRST.read_text(encoding="utf-8"))


def test_a_later_key_of_a_strategy_or_its_setup_ends_no_earlier_search(
    lab: dict[str, Any], jets: MaseDataModule, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fingerprint(table: dict[str, Any]) -> dict[str, Any]:
        settings, problems = parse_search_settings(table, jets)
        assert settings is not None and not problems
        return settings.fingerprint()

    first = fingerprint(lab)
    monkeypatch.setattr(strategy_setup, "StrategySetup", LaterSetup)
    monkeypatch.setattr(settings_of_search, "StrategyTable", LaterTable)
    assert fingerprint(lab) == first
    lab["strategy"]["turns"], lab["strategy"]["setup"]["rounds"] = 3, 2
    assert fingerprint(lab) == {**first, "strategy.turns": 3, "strategy.setup.rounds": 2}


@pytest.mark.parametrize("space", [MixedPrecisionPTQ, SearchSpaceBase])
@pytest.mark.parametrize("passes", [[], ["fold_batch_norm"]])
def test_a_later_key_of_a_space_ends_no_earlier_search(space: type[SearchSpaceBase], passes: list[str]) -> None:
    first = space.identity_of(SpaceSetup(passes=passes))
    assert space.identity_of(LaterSpaceSetup(passes=passes)) == first
    assert space.identity_of(LaterSpaceSetup(passes=passes, margin=1)) != first


def always_written() -> dict[str, list[str]]:
    classes = {f"strategy {name}": STRATEGIES[name].Options for name in STRATEGIES}
    classes |= {f"runner {name}": RUNNERS[name].Options for name in RUNNERS}
    classes |= {cls.__name__: cls for cls in (Training, Objective, SpaceTrainingOptions, *SETUPS)}
    classes = {name: cls for name, cls in classes.items() if cls.__module__.startswith("chop.")}
    return {
        name: sorted(field.name for field in fields(cls) if field.compare and BEFORE not in field.metadata)
        for name, cls in classes.items()
    }


def test_a_training_for_a_space_notices_a_later_option_that_is_not_given_any_more(tmp_path: Path) -> None:
    files = SpaceFiles(tmp_path)
    files.write_state({}, Progress(((0.5,),), 0), fingerprint_of_options(Later(rounds=2)))
    with pytest.raises(ChopError, match="rounds 2"):
        files.read_state(fingerprint_of_options(Later()))
