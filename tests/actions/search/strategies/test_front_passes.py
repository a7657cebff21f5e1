"""The passes of the strategy gradient as trials of a search: planned, recorded, killed and resumed, refused."""

from __future__ import annotations

import multiprocessing
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

import chop
from chop.actions.search.strategies.gradient import LATER_KEYS, Gradient, GradientOptions
from chop.errors import ConfigError
from chop.ir import MaseGraph
from chop.ir.graph.graph_file import load_onto
from chop.training.learned_widths import WidthRun
from chop.training.width_snapshots import WidthSnapshots
from tests.actions.search.killing import trials

SETUP = {
    "weight_granularity": "element",
    "activation_granularity": "element",
    "epochs": 6,
    "snapshots": 3,
    "batch_size": 64,
    "width_learning_rate": 0.1,
    "first_factor": 1e-5,
    "last_factor": 1e-3,
    "descent_passes": 2,
    "descent_networks": 2,
}


def net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(8, 6), nn.ReLU(), nn.Linear(6, 3))


def data() -> tuple[torch.Tensor, torch.Tensor]:
    x = torch.randn(256, 8, generator=torch.Generator().manual_seed(0))
    return x, x[:, :3].argmax(1)


def found(folder: Path, **more: Any) -> chop.Study:
    return chop.search(
        net(), data(), chop.Space(["integer"], [8]), strategy="gradient",
        objectives=["accuracy", "ebops"], strategy_options=SETUP, folder=folder, **more,
    )  # fmt: skip


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an unbroken search."""
    folder = tmp_path_factory.mktemp("whole") / "search"
    found(folder)
    return folder


def tensors(folder: Path) -> dict[str, list[bytes]]:
    return {
        path.name: [own.numpy().tobytes() for _, own in sorted(load_file(path).items())]
        for path in sorted((folder / "networks").iterdir())
    }


def test_each_network_of_a_pass_is_a_trial_that_says_where_it_started(whole: Path) -> None:
    rows = trials(whole)[1:]
    assert len(rows) == 3 + 2 * 2
    ebops = [row["hardware_metrics"]["ebops"] for row in rows]
    for number in range(3, 7):
        about = load_onto(MaseGraph(net()), whole / "networks" / f"{number:04d}.safetensors").about
        assert about["start"] < (3 if number < 5 else 5)
    assert min(ebops[3:]) < min(ebops[:3])
    assert {own.number for own in chop.load_study(whole, net(), data()).front_networks} & {3, 4, 5, 6}


@pytest.mark.parametrize("at", [1, 2, 4])
def test_a_search_that_is_killed_in_a_pass_goes_on_to_the_bit(
    at: int, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process ends in the descent of that number, those before are done."""
    descend, calls = WidthRun.descend, []

    def killed(self: WidthRun, *given: Any) -> None:
        calls.append(1)
        if len(calls) == at:
            os._exit(1)
        descend(self, *given)

    with monkeypatch.context() as patched:
        patched.setattr(WidthRun, "descend", killed)
        process = multiprocessing.get_context("fork").Process(target=found, args=(tmp_path / "cut",))
        process.start()
        process.join(300)
    assert process.exitcode == 1
    assert len(trials(tmp_path / "cut")) == 1 + 3 + at - 1
    found(tmp_path / "cut", resume=True)
    assert trials(tmp_path / "cut") == trials(whole)
    assert tensors(tmp_path / "cut") == tensors(whole)


def test_what_is_planned_is_what_comes() -> None:
    training = Gradient.training(GradientOptions(**SETUP))
    assert training.snapshots == 3 + 2 * 2
    few = Gradient.training(GradientOptions(**{**SETUP, "descent_networks": 10}))
    assert few.snapshots == 3 + 2 * 3


def test_without_passes_a_search_is_the_same_as_before_there_were_any() -> None:
    """Its fingerprint names none of their options, whose defaults are those of the training."""
    options = Gradient.training(GradientOptions(snapshots=3)).options
    assert not options.keys() & set(LATER_KEYS)
    assert {key: getattr(WidthSnapshots, key) for key in LATER_KEYS} == {
        key: getattr(GradientOptions, key) for key in LATER_KEYS
    }


def test_passes_need_a_width_for_each_element() -> None:
    problem = Gradient.problem(GradientOptions(descent_passes=1), 2)
    assert problem is not None and problem.startswith('descent_passes needs weight_granularity = "element"')


def test_passes_are_refused_before_the_search_where_the_network_is_no_chain(tmp_path: Path) -> None:
    x = torch.randn(60, 8)
    model = nn.Sequential(nn.Linear(8, 4), nn.Tanh(), nn.Linear(4, 2))
    with pytest.raises(
        ConfigError,
        match=r"chain of linear layers and ReLUs on vectors for its descent_passes, and .* is in the way: set it",
    ):
        chop.search(
            model, (x, (x[:, 0] > 0).long()), chop.Space(["integer"], [8]), strategy="gradient",
            objectives=["loss", "ebops"], strategy_options=SETUP, folder=tmp_path / "no",
        )  # fmt: skip
    assert not (tmp_path / "no").exists()
