"""The conformance suite of trainings whose snapshots are trials."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor, nn

from chop.dataset import MaseDataModule
from chop.dataset.data import Data, first_batch
from chop.formats import Integer
from chop.ir import MaseGraph, QuantPlan
from chop.ir.graph.graph_file import load_onto
from chop.models.checkpoint_file import read_checkpoint, save_tensors
from chop.training.snapshots import TRAININGS, SnapshotTraining, TrainedNetwork

Listed = str | type[SnapshotTraining] | tuple[str | type[SnapshotTraining], Mapping[str, Any]]


class TrainingConformance:
    """Subclass it in a test module and list `trainings`; pytest then checks each of them on a small network.

    One is listed as its name or class, or as a pair of that and its options. Let it take three snapshots or more.
    """

    trainings: ClassVar[Sequence[Listed]] = ()

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        """One test for each training."""
        if "listed" in metafunc.fixturenames:
            metafunc.parametrize("listed", self.trainings, ids=str)

    def test_it_says_what_it_trains(self, listed: Listed) -> None:
        """And has no problem with fixed point in every linear layer."""
        training = _training(listed)
        assert training.purpose, "say in `purpose` what it trains: `ch info training` shows it"
        assert training.problem(training.options, training.formats) is None

    def test_a_seed_gives_the_same_snapshots_again(self, listed: Listed) -> None:
        """To the bit, whatever torch's own generator holds, and without moving it."""
        torch.manual_seed(1)
        first = _snapshots(_training(listed))
        torch.manual_seed(2)
        before = torch.get_rng_state()
        again = _snapshots(_training(listed))
        assert torch.equal(torch.get_rng_state(), before)
        assert len(first) >= 3
        _require_equal(again, first)

    def test_it_goes_on_from_any_snapshot_as_if_unbroken(self, listed: Listed, tmp_path: Path) -> None:
        """From the state alone, after it was a file."""
        whole = _snapshots(_training(listed))
        for number, found in enumerate(whole[:-1]):
            state = read_checkpoint(save_tensors(found.state, tmp_path / "state.safetensors")).state_dict
            _require_equal(_snapshots(_training(listed), state), whole[number + 1 :])

    def test_a_snapshot_does_not_change_while_the_training_goes_on(self, listed: Listed) -> None:
        """Neither its network nor its state."""
        for found in (running := _training(listed).networks(None, _ignore)):
            weights, state = _weights(found), {name: own.clone() for name, own in found.state.items()}
            next(running, None)
            assert all(torch.equal(own, weights[name]) for name, own in _weights(found).items())
            assert all(torch.equal(own, state[name]) for name, own in found.state.items())

    def test_the_given_network_stays_as_it_is(self, listed: Listed) -> None:
        """Weights, mode and formats."""
        training = _training(listed)
        before = {name: own.clone() for name, own in training.graph.model.state_dict().items()}
        _snapshots(training)
        assert all(torch.equal(own, before[name]) for name, own in training.graph.model.state_dict().items())
        assert not training.graph.plan.choices
        assert not training.graph.model.training

    def test_a_saved_snapshot_predicts_the_same(self, listed: Listed, tmp_path: Path) -> None:
        """To the bit, with its weights and its formats."""
        x, _ = first_batch(_data(), "val", 100)
        for number, found in enumerate(_snapshots(_training(listed))):
            loaded = load_onto(_graph(), found.graph.export(tmp_path / f"{number}.safetensors"))
            assert loaded.plan == found.graph.plan
            assert torch.equal(loaded.model.eval()(x), found.graph.model.eval()(x))

    def test_it_says_how_far_it_is(self, listed: Listed) -> None:
        """Steps that grow, up to all of them."""
        seen: list[tuple[int, int]] = []
        for _ in _training(listed).networks(None, lambda done, of_all: seen.append((done, of_all))):
            assert seen
        assert [done for done, _ in seen] == sorted({done for done, _ in seen})
        assert all(0 < done <= of_all for done, of_all in seen)


def _training(listed: Listed) -> SnapshotTraining:
    given, options = listed if isinstance(listed, tuple) else (listed, {})
    cls = TRAININGS[given] if isinstance(given, str) else given
    graph = _graph()
    names = [name for name, op in graph.quantizable_nodes().items() if op.name == "linear"]
    formats = {(name, operand): [Integer(4), Integer(8)] for name in names for operand in ("data_in", "weight", "bias")}
    return cls(graph, _data(), formats, cls.Options(**options), seed=3)


@cache
def _data() -> Data:
    data = MaseDataModule("toy_tiny", batch_size=64)
    data.prepare_data()
    data.setup()
    return data


def _graph() -> MaseGraph:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        graph = MaseGraph(nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 2)))
    graph.model.eval()
    graph.observe(first_batch(_data(), "train", 2)[0])
    graph.apply_plan(QuantPlan())
    return graph


def _ignore(done: int, of_all: int) -> None:
    """Progress that nobody watches."""


def _snapshots(training: SnapshotTraining, state: Mapping[str, Tensor] | None = None) -> list[TrainedNetwork]:
    return list(training.networks(state, _ignore))


def _weights(found: TrainedNetwork) -> dict[str, Tensor]:
    return {name: own.clone() for name, own in found.graph.model.state_dict().items()}


def _require_equal(found: Sequence[TrainedNetwork], wanted: Sequence[TrainedNetwork]) -> None:
    assert len(found) == len(wanted)
    for one, other in zip(found, wanted, strict=True):
        assert one.graph.plan == other.graph.plan
        assert _same(_weights(one), _weights(other))
        assert _same(one.state, other.state)
        assert one.notes == other.notes


def _same(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(own, other[name]) for name, own in one.items())
