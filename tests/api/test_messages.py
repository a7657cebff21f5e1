"""Messages of calls from Python speak of arguments."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from torch import nn

import chop
from chop.errors import CheckpointError, ChopError, ConfigError, SearchError
from tests.api.conftest import few

Arrays = tuple[np.ndarray, np.ndarray]


def test_a_sampler_is_a_strategy(mlp: nn.Module, arrays: Arrays) -> None:
    by_sampler = chop.search(mlp, arrays, **few(strategy="random", n_trials=4))
    by_option = chop.search(mlp, arrays, **few(strategy="optuna", strategy_options={"sampler": "random"}, n_trials=4))
    assert [own.trial.point for own in by_sampler] == [own.trial.point for own in by_option]


def test_a_finish_that_is_neither_a_number_nor_a_dictionary(mlp: nn.Module, arrays: Arrays) -> None:
    with pytest.raises(ConfigError, match=r"finish: expected a number of epochs or a dictionary of options, got 1\.5"):
        chop.search(mlp, arrays, **few(finish=1.5))


def test_a_training_for_no_space_names_the_argument(mlp: nn.Module, arrays: Arrays) -> None:
    with pytest.raises(ConfigError, match=r"space: give a chop\.Space, or the number formats"):
        chop.train_for_space(mlp, arrays, None)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"seed": "a"}, "seed: expected a valid integer, got 'a'"),
        ({"seed": 1.5}, "seed: expected a valid integer, got 1.5"),
        ({"seed": None}, "seed: expected a valid integer, got None"),
        ({"seed": -1}, "seed: expected greater than or equal to 0, got -1"),
        ({"seed": np.int64(3)}, "seed: expected a valid integer, got "),
        ({"device": "tpu"}, "device: expected 'auto'"),
        ({"resume": "yes"}, "resume: expected a valid boolean, got 'yes'"),
        ({"folder": 3}, "folder: expected the path of a folder, got 3"),
        ({"max_token_len": 0}, "max_token_len: expected greater than or equal to 1"),
    ],
)
def test_every_call_checks_its_plain_arguments_alike(
    mlp: nn.Module, arrays: Arrays, given: dict[str, Any], said: str
) -> None:
    with pytest.raises(ConfigError) as told:
        chop.train_for_space(mlp, arrays, chop.Space(["integer"], [2, 8]), max_epochs=0, **given)
    assert said in str(told.value) and "max_epochs: expected" in str(told.value)
    with pytest.raises(ConfigError) as told:
        chop.search(mlp, arrays, **few(**given))
    assert said in str(told.value)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (
            {"constraints": ["accuracy"]},
            'constraints: expected a dictionary {name: {"min": …, "max": …, "max_drop": …}}',
        ),
        (
            {"constraints": {"accuracy": 0.5}},
            'constraints: expected {"min": …, "max": …, "max_drop": …} for \'accuracy\'',
        ),
        ({"constraints": {3: {"min": 1}}}, "constraints: expected a dictionary {name: "),
        ({"strategy_options": ["a"]}, "strategy_options: expected a dictionary {name: value}, got ['a']"),
        ({"metrics": ["loss"]}, "metrics: expected a dictionary {name: (function, 'maximize' or 'minimize')}, got "),
        ({"objectives": 5}, "objectives: expected names of metrics, or (function, 'maximize' or 'minimize'), got 5"),
        ({"early_stopping": 5}, "early_stopping: expected numbers of samples, got 5"),
    ],
)
def test_a_search_checks_its_tables_and_lists(mlp: nn.Module, arrays: Arrays, given: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError) as told:
        chop.search(mlp, arrays, **few(**given))
    assert str(told.value).startswith(said)


def test_a_problem_of_several_keys_is_told_once(mlp: nn.Module, arrays: Arrays) -> None:
    with pytest.raises(ConfigError) as told:
        chop.search(mlp, arrays, **few(widths=[4, 4]))
    assert str(told.value) == "widths: lists 4 twice; remove one (node '_2')"


def test_a_misspelt_argument_names_the_nearest(mlp: nn.Module, arrays: Arrays) -> None:
    with pytest.raises(TypeError, match=r"unexpected keyword argument 'ntrials'; did you mean 'n_trials'"):
        chop.search(mlp, arrays, **few(ntrials=3))


def test_weights_in_place_of_their_file_are_told_the_cure(mlp: nn.Module, arrays: Arrays, tmp_path: Path) -> None:
    space = chop.Space(["integer"], [2, 8])
    with pytest.raises(ConfigError, match=r"weights: expected the path of a file, .*load_state_dict"):
        chop.search(mlp, arrays, space, weights=mlp.state_dict())  # type: ignore[arg-type]
    trained = chop.train_for_space(mlp, arrays, space, max_epochs=1, probes=2)
    for call in (chop.search, chop.train_for_space):
        with pytest.raises(ConfigError, match=r"weights: expected .*SpaceTrainedModel: search its \.model, or"):
            call(mlp, arrays, space, weights=trained)
    with pytest.raises(ConfigError, match=r"weights: expected the path of a file, .*load_state_dict"):
        chop.load_study(tmp_path, mlp, arrays, weights=mlp.state_dict())  # type: ignore[arg-type]
    with pytest.raises(CheckpointError, match=r"^weights: aaa.*give the path"):
        chop.search(mlp, arrays, space, objectives="loss", weights="a" * 5000)


def test_the_least_number_of_samples_is_the_one_that_runs(mlp: nn.Module, arrays: Arrays) -> None:
    x, y = arrays
    with pytest.raises(ChopError, match="has 3 samples, too few for three parts; give at least 4"):
        chop.search(mlp, (x[:3], y[:3]), **few())
    assert len(chop.search(mlp, (x[:4], y[:4]), **few(objectives=["loss", "average_bitwidth"])))


def test_a_strategy_that_fails_is_found_in_the_traceback(mlp: nn.Module, arrays: Arrays) -> None:
    class Failing:
        def ask(self, n: int) -> list[dict[str, int]]:
            raise RuntimeError(f"no {n} points")

    with pytest.raises(SearchError, match=r"RuntimeError: no 1 points \(the traceback shows where\)"):
        chop.search(mlp, arrays, **few(strategy=Failing(), n_trials=3))


def test_a_file_may_leave_out_model_and_data_but_not_name_unknown_ones(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text(
        '[search.search_space]\nname = "graph/quantize/mixed_precision_ptq"\n[search.strategy]\nname = "random"\n',
        encoding="utf-8",
    )
    assert not {"model", "data"} & set(chop.load_config(file))
    file.write_text(f'dataset = "nope"\n{file.read_text(encoding="utf-8")}', encoding="utf-8")
    with pytest.raises(ConfigError) as told:
        chop.load_config(file)
    assert "unknown data set 'nope'" in str(told.value) and "is missing" not in str(told.value)
