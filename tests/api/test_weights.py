"""`weights=`: a file of weights for a model of the caller, with the offsets that a training for a space has found."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import chop
from chop.api.study import Study
from chop.errors import CheckpointError, ConfigError, SearchError
from tests.api.conftest import few

Arrays = tuple[np.ndarray, np.ndarray]
SPACE = {"formats": ["integer"], "widths": [2, 8]}


@pytest.fixture
def file(mlp: nn.Module, arrays: Arrays, tmp_path: Path) -> Path:
    """The weights of `mlp`, trained for a space."""
    trained = chop.train_for_space(mlp, arrays, chop.Space(**SPACE), max_epochs=4, probes=3, learning_rate=0.05)
    assert trained.epoch
    return trained.save(tmp_path / "trained.safetensors")


def searched(model: Any, arrays: Arrays, **more: Any) -> Study:
    return chop.search(model, arrays, **few(**SPACE, objectives=["loss", "average_bitwidth"], **more))


def losses(study: Study) -> list[float]:
    return [study[number].metrics["loss"] for number in range(len(study.trials))]


def untrained() -> nn.Module:
    return nn.Sequential(nn.Linear(8, 12), nn.ReLU(), nn.Linear(12, 3))


def test_a_model_of_the_caller_is_searched_with_the_weights_and_offsets_of_a_file(file: Path, arrays: Arrays) -> None:
    own = untrained()
    before = {name: tensor.clone() for name, tensor in own.state_dict().items()}
    study = searched(own, arrays, weights=file)
    assert all(torch.equal(tensor, before[name]) for name, tensor in own.state_dict().items())
    assert "trained for this search space" in study.summary.origin.training
    assert losses(searched(chop.MaseGraph(own), arrays, weights=file)) == losses(study)
    shared = untrained()
    shared.load_state_dict({name: tensor for name, tensor in tensors(file).items() if name in before})
    assert losses(searched(shared, arrays)) != losses(study)


def tensors(file: Path) -> dict[str, torch.Tensor]:
    from safetensors.torch import load_file

    return load_file(file)


def test_a_training_goes_on_from_a_file(file: Path, arrays: Arrays, tmp_path: Path) -> None:
    options = {"max_epochs": 1, "probes": 3, "learning_rate": 1e-9}
    trained = chop.train_for_space(untrained(), arrays, chop.Space(**SPACE), weights=file, **options)
    again = trained.save(tmp_path / "again.safetensors")
    assert losses(searched(untrained(), arrays, weights=again)) == pytest.approx(
        losses(searched(untrained(), arrays, weights=file)), abs=1e-5
    )


def test_a_study_is_loaded_with_the_weights_that_it_was_searched_with(
    file: Path, arrays: Arrays, tmp_path: Path
) -> None:
    study = searched(untrained(), arrays, weights=file, folder=tmp_path / "kept")
    assert f'load_name = "{file}"' in study.to_toml() and "--load WEIGHTS" not in study.to_toml()
    with pytest.raises(
        SearchError, match=r"model: the model has other weights .*: add weights=\".*trained.safetensors\""
    ):
        chop.load_study(tmp_path / "kept", model=untrained(), data=arrays)
    loaded = chop.load_study(tmp_path / "kept", model=untrained(), data=arrays, weights=file)
    x = torch.as_tensor(arrays[0]).float()
    assert torch.equal(loaded.best().model(x), study.best().model(x))


def test_weights_that_do_not_fit_are_told_by_the_name_of_the_argument(
    file: Path, mlp: nn.Module, arrays: Arrays, tmp_path: Path
) -> None:
    with pytest.raises(CheckpointError, match=r"^weights: .* does not fit the model"):
        searched(nn.Sequential(nn.Linear(8, 3)), arrays, weights=file)
    with pytest.raises(CheckpointError, match=r"^weights: .*none.safetensors does not exist"):
        searched(mlp, arrays, weights=tmp_path / "none.safetensors")
    with pytest.raises(ConfigError, match=r"^pretrained: is for a model by name"):
        searched(mlp, arrays, weights=file, pretrained=True)
