"""Optuna's samplers: what they are told, and what is refused before anything runs."""

from __future__ import annotations

import subprocess
import sys
from math import inf
from pathlib import Path
from typing import Any

import optuna
import pytest
from torch import nn

from chop.actions.search import search
from chop.actions.search.settings.search import parse_search_settings
from chop.actions.search.strategies.base import WORST
from chop.actions.search.strategies.optuna import samplers
from chop.actions.search.strategies.optuna.strategy import Optuna, OptunaOptions
from chop.dataset import MaseDataModule
from chop.errors import ConfigError
from chop.record.folder import SearchFolder
from chop.record.goals import Constraint
from chop.testing.made_up_search import MadeUpSearch

FAILED = (-WORST, WORST, WORST)
CONSTRAINED = MadeUpSearch(constraints=(Constraint("model_size", "max", 80.0),))


def told(sampler: Any, values: tuple[float, ...]) -> optuna.trial.FrozenTrial:
    """The trial that Optuna keeps of a point with these values (accuracy, size, violation)."""
    strategy = Optuna(CONSTRAINED.context, OptunaOptions(sampler))
    strategy.tell(strategy.ask(1), [values])
    return strategy._study.trials[0]


@pytest.mark.parametrize("sampler", ["tpe", "nsgaii", "nsgaiii", "gp"])
def test_limits_are_constraints_to_samplers_that_know_them(sampler: str) -> None:
    assert told(sampler, (0.7, 90.0, 0.125)).constraints == {"0": 0.125}


@pytest.mark.parametrize(("sampler", "knows"), [("tpe", True), ("cmaes", False), ("qmc", False), ("random", False)])
def test_other_samplers_are_told_worse_values_instead(sampler: Any, knows: bool) -> None:
    assert Optuna(CONSTRAINED.context, OptunaOptions(sampler)).constraints == knows


@pytest.mark.parametrize("sampler", ["nsgaii", "nsgaiii"])
def test_a_failed_trial_lives_in_no_generation(sampler: str) -> None:
    assert told(sampler, FAILED).state == optuna.trial.TrialState.FAIL


def test_a_failed_trial_does_not_drown_the_values_of_a_gaussian_process() -> None:
    trial = told("gp", FAILED)
    assert (trial.values, trial.constraints) == ([-inf, inf], {"0": inf})


def test_a_failed_trial_is_avoided_by_parzen_estimators() -> None:
    assert told("tpe", FAILED).values == [-WORST, WORST]


def test_inherited_trials_make_generations() -> None:
    strategy = Optuna(MadeUpSearch().context, OptunaOptions("nsgaii", population_size=4))
    space = strategy.space
    strategy.tell([space.point(index) for index in range(10)], [(index / 10, 1.0) for index in range(10)])
    key = optuna.samplers.NSGAIISampler._get_generation_key()
    assert [trial.system_attrs[key] for trial in strategy._study.trials] == [0] * 4 + [1] * 4 + [2] * 2


def test_cmaes_begins_around_the_best_of_inherited_trials() -> None:
    search = MadeUpSearch(layers=4, objectives=1)
    highest = {key: len(choices) - 1 for key, choices in search.space.parameters.items()}

    def mean_of_first(inherited: int) -> float:
        strategy = Optuna(search.context, OptunaOptions("cmaes"))
        strategy.tell([highest] * inherited, [(-float(index),) for index in range(inherited)])
        points = strategy.ask(12)
        return sum(sum(point.values()) for point in points) / len(points)

    assert mean_of_first(20) > mean_of_first(0) + 3


def test_several_objectives_are_refused_where_a_sampler_has_one(
    lab: dict[str, Any], jets: MaseDataModule, jsc_tiny: nn.Module
) -> None:
    lab["strategy"] |= {"name": "optuna", "setup": {"sampler": "cmaes", "n_trials": 5}}
    with pytest.raises(ConfigError, match=r"strategy.setup: sampler = \"cmaes\" optimises one number, and there are 2"):
        search(jsc_tiny, jets, lab, Path("nowhere"))


def test_a_sampler_in_place_of_a_strategy_is_optuna_with_it(lab: dict[str, Any], jets: MaseDataModule) -> None:
    lab["strategy"] |= {"name": "tpe", "setup": {"n_trials": 5}}
    by_sampler, problems = parse_search_settings(lab, jets)
    lab["strategy"] |= {"name": "optuna", "setup": {"n_trials": 5, "sampler": "tpe"}}
    assert problems == [] and by_sampler is not None
    by_setup = parse_search_settings(lab, jets)[0]
    assert by_sampler == by_setup and by_sampler.algorithm == "tpe"


def test_a_record_names_the_sampler(
    lab: dict[str, Any], jets: MaseDataModule, jsc_tiny: nn.Module, tmp_path: Path
) -> None:
    lab["strategy"] |= {"name": "tpe", "setup": {"n_trials": 2}}
    search(jsc_tiny, jets, lab, tmp_path)
    assert SearchFolder(tmp_path).summary.strategy == "tpe"
    assert "- tpe: 2 trials" in (tmp_path / "report.md").read_text(encoding="utf-8")
    lab["strategy"] |= {"name": "optuna", "setup": {"n_trials": 3, "sampler": "tpe"}}
    assert len(search(jsc_tiny, jets, lab, tmp_path, resume=True).trials) == 3


@pytest.mark.parametrize(
    ("name", "setup", "told"),
    [
        ("tpe", {"sampler": "random"}, "sampler: is 'random', and the strategy is 'tpe': keep one"),
        ("tpee", {}, r"unknown search strategy 'tpee'; did you mean 'tpe'\? \(known: brute_force, .*: tpe, nsgaii"),
        ("foo", {}, r"unknown search strategy 'foo' \(known: brute_force, .*, uniform; samplers of optuna: tpe, "),
    ],
)
def test_a_name_that_is_no_strategy_and_no_sampler(
    lab: dict[str, Any], jets: MaseDataModule, jsc_tiny: nn.Module, name: str, setup: dict[str, Any], told: str
) -> None:
    lab["strategy"] |= {"name": name, "setup": {"n_trials": 5, **setup}}
    with pytest.raises(ConfigError, match=told):
        search(jsc_tiny, jets, lab, Path("nowhere"))


def test_messages_on_the_setup_name_the_sampler_that_was_asked_for(
    lab: dict[str, Any], jets: MaseDataModule, caplog: pytest.LogCaptureFixture
) -> None:
    lab["strategy"] |= {"name": "tpe", "setup": {"landscape": True}}
    with caplog.at_level("INFO"):
        _, problems = parse_search_settings(lab, jets)
    assert [problem.message for problem in problems] == [
        "'tpe' has no end of its own: give n_trials, timeout or patience"
    ]
    assert "setup: 'tpe' makes no use of landscape" in caplog.text


def test_a_missing_package_is_told_with_its_cure(
    lab: dict[str, Any], jets: MaseDataModule, jsc_tiny: nn.Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(samplers, "find_spec", lambda name: None)
    del lab["strategy"]["metrics"]["average_bitwidth"]
    lab["strategy"] |= {"name": "optuna", "setup": {"sampler": "cmaes", "n_trials": 5}}
    with pytest.raises(
        ConfigError, match=r'needs the package cmaes: .*-m pip install "chop-search\[optuna-samplers\]"'
    ):
        search(jsc_tiny, jets, lab, Path("nowhere"))


def test_keys_of_another_sampler_are_named(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO"):
        Optuna(MadeUpSearch().context, OptunaOptions("tpe", population_size=4))
    assert "sampler 'tpe' makes no use of population_size" in caplog.text


def test_the_package_is_imported_without_the_warning_of_its_progress_bars_in_a_notebook() -> None:
    code = (
        "import sys, types, warnings\n"
        "kernel = types.SimpleNamespace(config={'IPKernelApp': {}})\n"
        "sys.modules['IPython'] = types.SimpleNamespace(get_ipython=lambda: kernel)\n"
        "sys.modules['ipywidgets'] = None\n"
        "warnings.simplefilter('error')\n"
        "from chop.actions.search.strategies.optuna.samplers import import_optuna\n"
        "import_optuna()\n"
    )
    run = subprocess.run([sys.executable, "-c", code], text=True, encoding="utf-8", capture_output=True, check=False)
    assert "IProgress" not in run.stderr and run.returncode == 0, run.stderr
