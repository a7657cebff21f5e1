"""Checkpoints that teach a training of widths: their mean is the target, and a search keeps to the same ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import chop
from chop.api.data import data_module_of
from chop.errors import CheckpointError, ConfigError, SearchError
from chop.ir import MaseGraph
from chop.models.checkpoint import save_weights
from chop.training.learned_widths import WidthRun, WidthTraining

SETUP = {"weight_granularity": "element", "activation_granularity": "element", "epochs": 3, "snapshots": 3}


def net(seed: int = 0, hidden: int = 6) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(8, hidden), nn.ReLU(), nn.Linear(hidden, 3))


def data() -> tuple[torch.Tensor, torch.Tensor]:
    x = torch.randn(256, 8, generator=torch.Generator().manual_seed(0))
    return x, x[:, :3].argmax(1)


def search(teachers: list[str], folder: Path, **more: Any) -> chop.Study:
    options = {**SETUP, "teacher_share": 1.0, "teachers": teachers}
    return chop.search(
        net(), data(), chop.Space(["integer"], [8]), strategy="gradient",
        objectives=["accuracy", "ebops"], strategy_options=options, folder=folder, **more,
    )  # fmt: skip


@pytest.fixture
def teachers(tmp_path: Path) -> list[str]:
    return [str(save_weights(net(seed), tmp_path / f"{seed}.safetensors")) for seed in (1, 2)]


@pytest.mark.parametrize("share", [1.0, 0.25])
def test_the_target_is_the_mean_of_their_probabilities_beside_the_labels(teachers: list[str], share: float) -> None:
    module = data_module_of(data())
    run = WidthRun(MaseGraph(net()), module, WidthTraining(teacher_share=share, teachers=[*map(Path, teachers)]))
    x, y = (torch.cat(own) for own in zip(*module.batches("train"), strict=True))
    soft = (net(1)(x).softmax(1) + net(2)(x).softmax(1)).detach() / 2
    wanted = share * soft + (1 - share) * nn.functional.one_hot(y, 3)
    assert run.engine.train.shares is not None
    torch.testing.assert_close(run.engine.train.shares, wanted)


def test_the_network_that_is_trained_stays_as_it_is(teachers: list[str]) -> None:
    graph, before = MaseGraph(net()), net().state_dict()
    run = WidthRun(graph, data_module_of(data()), WidthTraining(teachers=teachers))
    for found in (graph.model.state_dict(), run.engine.float_state):  # type: ignore[attr-defined]
        assert all(torch.equal(found[name], own) for name, own in before.items())


def test_a_checkpoint_of_another_network_is_refused(tmp_path: Path) -> None:
    other = str(save_weights(net(hidden=5), tmp_path / "other.safetensors"))
    with pytest.raises(CheckpointError, match="shape"):
        WidthRun(MaseGraph(net()), data_module_of(data()), WidthTraining(teachers=[other]))
    for wrong in (other, str(tmp_path / "nowhere.safetensors")):
        with pytest.raises(ConfigError, match="has a teacher that is no checkpoint of the network as it is trained: "):
            search([wrong], tmp_path / "no")
    assert not (tmp_path / "no").exists()


def test_they_are_refused_where_they_teach_nothing(tmp_path: Path, teachers: list[str]) -> None:
    x, _ = data()
    for y, share, message in ((x[:, :3], 1.0, "class for each sample for its teachers: leave them out"), (
        x[:, :3].argmax(1), 0.0, "teachers has no effect without teacher_share"
    )):  # fmt: skip
        with pytest.raises(ConfigError, match=message):
            chop.search(
                net(), (x, y), chop.Space(["integer"], [8]), strategy="gradient", objectives=["loss", "ebops"],
                strategy_options={**SETUP, "teacher_share": share, "teachers": teachers}, folder=tmp_path / "no",
            )  # fmt: skip


def test_a_search_goes_on_with_the_same_teachers_alone(tmp_path: Path, teachers: list[str]) -> None:
    whole = search(teachers, tmp_path / "search")
    again = search(teachers, tmp_path / "search", resume=True)
    assert len(again) == len(whole) == 3
    save_weights(net(3), teachers[0])
    with pytest.raises(SearchError, match="training_files"):
        search(teachers, tmp_path / "search", resume=True)
