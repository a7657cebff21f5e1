"""Which of a file's tensors are the model's weights: behind any prefix, raw or averaged, the only ones or chosen."""

from __future__ import annotations

import argparse
import dataclasses
import logging
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from chop.errors import CheckpointError
from chop.models.checkpoint import load_weights

State = dict[str, Any]


def net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(8, 16), nn.BatchNorm1d(16), nn.Linear(16, 3))


def moved(by: float) -> State:
    """A state dict whose first weight differs from the fresh model's by `by`."""
    return {name: tensor + by for name, tensor in net().state_dict().items()}


def behind(prefix: str, state: State) -> State:
    return {prefix + name: tensor for name, tensor in state.items()}


def loaded(content: Any, folder: Path, which: str | None = None, model: nn.Module | None = None) -> float:
    """By how much the first weight that is loaded differs from the fresh one."""
    torch.save(content, folder / "w.pt")
    target = model or net()
    load_weights(target, folder / "w.pt", which=which)
    fresh = net().state_dict()["0.weight"]
    found = next(iter(target.state_dict().values()))
    return round(float((found - fresh).mean()), 4)


@pytest.mark.parametrize(
    "prefix",
    [
        *("module.", "model.", "_orig_mod.", "module._orig_mod.", "model._orig_mod.", "_orig_mod.module."),
        *("_orig_mod.model.", "module.model.", "model.model.", "net.", "backbone.net.", "_fsdp_wrapped_module."),
    ],
)
@pytest.mark.parametrize("place", [None, "state_dict", "model", "model_state_dict", "net"])
def test_weights_are_found_behind_any_prefix_and_key(prefix: str, place: str | None, tmp_path: Path) -> None:
    state = behind(prefix, moved(1))
    assert loaded(state if place is None else {place: state, "epoch": 3, "optimizer": {}}, tmp_path) == 1


def test_wrappers_within_names_and_around_the_model(tmp_path: Path) -> None:
    inside = {name.replace("0.", "0.module."): tensor for name, tensor in moved(1).items()}
    assert loaded(inside, tmp_path) == 1
    assert loaded(moved(1), tmp_path, model=nn.DataParallel(net())) == 1
    assert loaded(moved(1), tmp_path, model=torch.compile(net())) == 1


@dataclasses.dataclass
class Settings:
    rate: float = 0.1


class Table(dict):  # type: ignore[type-arg]
    """As Lightning keeps hyper-parameters."""


@pytest.mark.parametrize(
    "noted",
    [
        *(argparse.Namespace(lr=0.1), types.SimpleNamespace(lr=0.1), Path("a"), Settings(), Table(lr=0.1)),
        *(np.float64(0.1), np.ones(3), nn.CrossEntropyLoss(torch.ones(3)), nn.GELU, frozenset({1})),
    ],
    ids=lambda value: type(value).__name__,
)
def test_notes_of_a_training_beside_weights_are_passed_over(noted: Any, tmp_path: Path) -> None:
    content = {"state_dict": behind("model.", moved(1)), "pytorch-lightning_version": "2", "hyper_parameters": noted}
    assert loaded(content, tmp_path) == 1


def in_one_dictionary() -> State:
    averaged = {**behind("ema_model.module.", moved(5)), "ema_model.n_averaged": torch.tensor(2)}
    return {"state_dict": {**behind("model.", moved(1)), **averaged}}


AVERAGED: dict[str, Any] = {
    "timm": {"state_dict": moved(1), "state_dict_ema": moved(5)},
    "ema": {"net": moved(1), "ema": {"state_dict": moved(5)}},
    "swa_model": {"model": moved(1), "swa_model": {**behind("module.", moved(5)), "n_averaged": torch.tensor(2)}},
    "counted": {"a": moved(1), "b": {**behind("module.", moved(5)), "n_averaged": torch.tensor(2)}},
    "one dictionary": in_one_dictionary(),
}


@pytest.mark.parametrize("kind", AVERAGED)
def test_averaged_weights_are_named_and_chosen(kind: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "chop"):
        assert loaded(AVERAGED[kind], tmp_path) == 1
    assert "(averaged)" in caplog.text
    assert "--load-weights" in caplog.text
    assert "left out" not in caplog.text
    assert loaded(AVERAGED[kind], tmp_path, "averaged") == 5
    assert loaded(AVERAGED[kind], tmp_path, "raw") == 1


def parameters(state: State) -> State:
    names = {name for name, _ in net().named_parameters()}
    return {name: tensor for name, tensor in state.items() if name in names}


WITHOUT_BUFFERS: dict[str, Any] = {
    "beside": {"model": moved(1), "ema": parameters(moved(5))},
    "one dictionary": {"state_dict": {**behind("model.", moved(1)), **behind("ema.module.", parameters(moved(5)))}},
}


@pytest.mark.parametrize("kind", WITHOUT_BUFFERS)
def test_averaged_parameters_without_buffers_take_those_of_the_raw_weights(
    kind: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "chop"):
        assert loaded(WITHOUT_BUFFERS[kind], tmp_path) == 1
        assert "(averaged)" in caplog.text and "left out" not in caplog.text
        model = net()
        assert loaded(WITHOUT_BUFFERS[kind], tmp_path, "averaged", model) == 5
    assert torch.equal(model.state_dict()["1.running_mean"], moved(1)["1.running_mean"])
    assert "the buffers (running means and the like) are those of" in caplog.text


def test_parameters_of_another_kind_are_no_choice(tmp_path: Path) -> None:
    content = {"model": moved(1), "gradients": parameters(moved(5))}
    assert loaded(content, tmp_path) == 1
    with pytest.raises(CheckpointError, match="holds no weights 'averaged'"):
        loaded(content, tmp_path, "averaged")


@pytest.mark.parametrize("kind", ["npz", "torch", "nested"])
def test_arrays_of_numpy_are_said_to_be_that(kind: str, tmp_path: Path) -> None:
    arrays = {name: tensor.numpy() for name, tensor in moved(1).items()}
    with pytest.raises(CheckpointError, match=r"NumPy arrays.*torch.from_numpy"):
        if kind == "npz":
            np.savez(tmp_path / "w.npz", **arrays)
            load_weights(net(), tmp_path / "w.npz")
        loaded({"model": arrays} if kind == "nested" else arrays, tmp_path)


def test_averaged_weights_without_names_are_named_as_such(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    shadow = [tensor.detach() for tensor in net().parameters()]
    assert loaded({"model": moved(1), "ema": {"decay": 0.9, "shadow_params": shadow}}, tmp_path) == 1
    assert "'ema.shadow_params' have no names" in caplog.text


def test_averaged_weights_alone_are_loaded_and_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    alone = AveragedModel(net())
    with caplog.at_level(logging.INFO, "chop"):
        assert loaded(alone.state_dict(), tmp_path) == 0
    assert "averaged weights 'top'" in caplog.text
    assert loaded(alone.state_dict(), tmp_path, model=AveragedModel(net())) != 0  # its counter is its own


TWO: dict[str, tuple[Any, str]] = {
    "keys": ({"generator": moved(1), "discriminator": moved(2)}, "discriminator"),
    "prefixes": ({**behind("student.", moved(1)), **behind("teacher.", moved(2))}, "teacher"),
    "list": ({"models": [moved(1), moved(2)]}, "models.1"),
    "with and without": ({**moved(1), **behind("model.", moved(2))}, "model"),
}


@pytest.mark.parametrize("kind", TWO)
def test_several_sets_are_refused_unless_one_is_named(kind: str, tmp_path: Path) -> None:
    content, name = TWO[kind]
    with pytest.raises(CheckpointError, match="several sets of weights") as caught:
        loaded(content, tmp_path)
    assert f"'{name}'" in str(caught.value)
    assert loaded(content, tmp_path, name) == 2
    with pytest.raises(CheckpointError, match="holds no weights 'averaged'"):
        loaded(content, tmp_path, "averaged")


def test_equal_sets_are_one(tmp_path: Path) -> None:
    assert loaded({"state_dict": moved(1), "best": moved(1)}, tmp_path) == 1


def test_of_two_sets_the_one_with_the_models_shapes_is_meant(tmp_path: Path) -> None:
    other = {name: torch.zeros(7) for name in moved(0)}
    assert loaded({"teacher": other, "student": moved(1)}, tmp_path) == 1


def test_names_that_belong_to_nothing_are_a_misfit(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"unexpected: model\.0\.weight"):
        loaded({**moved(1), "model.0.weight": torch.ones(2)}, tmp_path)


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(5, 4)
        self.head = nn.Linear(4, 5, bias=False)
        self.head.weight = self.table.weight


def test_tied_weights_may_be_there_once_but_must_not_differ(tmp_path: Path) -> None:
    weight: Tensor = torch.arange(20.0).reshape(5, 4)
    for state in ({"head.weight": weight}, {"table.weight": weight}, {"head.weight": weight, "table.weight": weight}):
        torch.save(state, tmp_path / "w.pt")
        model = Tied()
        load_weights(model, tmp_path / "w.pt")
        assert torch.equal(model.table.weight, weight)
    torch.save({"head.weight": weight, "table.weight": weight + 1}, tmp_path / "w.pt")
    with pytest.raises(CheckpointError, match=r"head\.weight differs from table\.weight"):
        load_weights(Tied(), tmp_path / "w.pt")


def test_counters_of_batch_norms_that_a_file_lacks_start_at_zero(tmp_path: Path) -> None:
    """PyTorch wrote none before 0.4.1, and many converters leave them out."""
    model = net()
    model[1].num_batches_tracked += 7
    state = {name: tensor for name, tensor in moved(2.0).items() if "num_batches_tracked" not in name}
    assert loaded({"model": state}, tmp_path, model=model) == 2.0
    assert model[1].num_batches_tracked == 0
