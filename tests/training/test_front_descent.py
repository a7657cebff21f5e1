"""Passes behind a training of widths: which networks they start from, and what they lead to."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn

from chop.api.data import data_module_of
from chop.errors import ConfigError, GraphError
from chop.ir import MaseGraph
from chop.training.front_descent import (
    LINE_EPOCHS,
    Descended,
    FrontNetwork,
    FrontTraining,
    nearest_to_front,
    train_front,
)
from chop.training.learned_widths import Snapshot, WidthRun, snapshot_graph, train_widths
from chop.training.width_lines import train_line

OPTIONS = FrontTraining(
    epochs=6,
    batch_size=64,
    width_learning_rate=0.1,
    first_factor=1e-5,
    last_factor=1e-3,
    cycles=2,
    snapshots=3,
    teacher_share=0.0,
    descent_rounds=1,
    descent_passes=3,
    descent_networks=2,
    descent_growth=1.5,
)


def made() -> tuple[MaseGraph, Any]:
    torch.manual_seed(0)
    x = torch.randn(256, 8)
    model = nn.Sequential(nn.Linear(8, 6), nn.ReLU(), nn.Linear(6, 3))
    return MaseGraph(model), data_module_of((x, x[:, :3].argmax(1)))


def found(number: int, cost: float, loss: float) -> FrontNetwork:
    return FrontNetwork(number, loss, Snapshot(0, 0, 1e-4, cost, 0.0, {}, {}))


def numbers(networks: list[FrontNetwork]) -> list[int]:
    return [own.number for own in networks]


def test_the_networks_that_are_furthest_behind_the_front_go_first() -> None:
    all_of = [found(0, 100, 1.0), found(1, 200, 0.9), found(2, 150, 1.4), found(3, 250, 0.95), found(4, 50, 1.2)]
    assert numbers(nearest_to_front(all_of, 9)) == [4, 0, 2, 1, 3]
    assert numbers(nearest_to_front(all_of, 4)) == [4, 0, 1, 3]
    assert numbers(nearest_to_front(all_of, 3)) == [4, 0, 1]


def test_of_a_front_those_that_are_well_apart_stay_with_both_ends() -> None:
    front = [found(number, cost, 1 / cost) for number, cost in enumerate((10, 11, 100, 105, 1000))]
    assert numbers(nearest_to_front(front, 3)) == [0, 3, 4]
    assert numbers(nearest_to_front(front, 2)) == [0, 4]
    assert numbers(nearest_to_front(front, 1)) == [0]


def test_each_network_of_a_pass_is_no_worse_than_its_start() -> None:
    """By the loss on the training samples plus its factor times the cost; the factor grows from the third pass on."""
    graph, data = made()
    run = WidthRun(graph, data, OPTIONS)

    def loss(snapshot: Snapshot) -> float:
        engine = WidthRun(graph, data, OPTIONS).require_chain()
        engine.load_network(snapshot_graph(graph, snapshot))
        assert engine.cost() == snapshot.cost
        return engine.loss(engine.train)

    all_of = list(train_front(graph, data, OPTIONS))
    assert [type(own) for own in all_of] == [Snapshot] * 3 + [Descended] * 6
    gains = []
    for number, own in enumerate(all_of):
        if not isinstance(own, Descended):
            continue
        start = all_of[own.start]
        stage = (number - 3) // 2
        assert own.start < 3 + 2 * stage
        assert own.factor == pytest.approx(start.factor * (1.5 if stage == 2 else 1.0))
        gains.append(loss(start) + own.factor * start.cost - loss(own) - own.factor * own.cost)
    assert min(gains) > -1e-6
    assert max(gains) > 1e-3
    assert all_of[-1].step == OPTIONS.epochs * run.batches


def test_the_run_before_the_passes_is_the_same_as_without() -> None:
    graph, data = made()
    plain = list(train_widths(graph, data, OPTIONS))
    with_passes = list(train_front(graph, data, replace(OPTIONS, descent_passes=1)))
    assert len(list(train_front(graph, data, replace(OPTIONS, descent_passes=0)))) == len(plain) == 3
    for one, other in zip(plain, with_passes, strict=False):
        assert (one.cost, one.validation_loss) == (other.cost, other.validation_loss)
        assert all(torch.equal(own, other.weights[name]) for name, own in one.weights.items())


def test_a_line_goes_on_from_the_run_and_the_passes_start_from_both(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    graph, data = made()
    options = replace(OPTIONS, line_networks=3, descent_passes=1, descent_networks=6)
    plain = list(train_widths(graph, data, options))
    factors = [options.last_factor * 1.2**number for number in range(3)]
    line = list(train_line(graph, data, replace(options, descent_epochs=LINE_EPOCHS), plain[-1], factors))
    all_of = list(train_front(graph, data, options))
    assert [own.cost for own in all_of[:6]] == [own.cost for own in (*plain, *line)]
    assert [own.factor for own in all_of[3:6]] == factors
    assert {own.start for own in all_of[6:] if isinstance(own, Descended)} & {3, 4, 5}
    assert len(list(train_front(graph, data, replace(options, descent_passes=0)))) == 6
    assert caplog.text.count(f"a line of 3 networks goes on from {plain[-1].cost:,.0f} EBOPs") == 2


@pytest.mark.parametrize("behind", [2, 3, 4, 5, 6])
def test_a_training_that_is_cut_in_its_line_goes_on_to_the_bit(behind: int) -> None:
    graph, data = made()
    options = replace(OPTIONS, line_networks=3, descent_passes=1)
    whole = list(train_front(graph, data, options))
    start = Snapshot(0, 0, 0.0, 0.0, 0.0, {}, {}, whole[behind].state)
    rest = list(train_front(graph, data, options, start))
    assert len(rest) == len(whole) - behind - 1
    for one, other in zip(whole[behind + 1 :], rest, strict=True):
        assert (one.cost, one.factor, one.step) == (other.cost, other.factor, other.step)
        assert all(torch.equal(own, other.weights[name]) for name, own in one.weights.items())


def test_networks_that_cost_too_much_are_left_out_and_none_is_told(caplog: pytest.LogCaptureFixture) -> None:
    graph, data = made()
    costs = sorted(own.cost for own in train_front(graph, data, replace(OPTIONS, descent_passes=0)))
    one = list(train_front(graph, data, replace(OPTIONS, descent_below=costs[0], descent_passes=1)))
    assert [own.start for own in one if isinstance(own, Descended)] == [[own.cost for own in one].index(costs[0])]
    assert "no network" not in caplog.text
    assert len(list(train_front(graph, data, replace(OPTIONS, descent_below=costs[0] / 2)))) == 3
    assert caplog.text.count("no network has descent_below") == 1


def test_what_is_no_chain_is_refused_before_anything_is_trained(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    x = torch.randn(64, 8)
    graph = MaseGraph(nn.Sequential(nn.Linear(8, 6), nn.Tanh(), nn.Linear(6, 3)))
    monkeypatch.setattr(WidthRun, "_step", None)
    with pytest.raises(GraphError, match="a descent needs a chain of linear layers and ReLUs"):
        next(train_front(graph, data_module_of((x, x[:, :3].argmax(1))), OPTIONS))
    with pytest.raises(GraphError, match="a descent needs a chain"):
        next(train_front(made()[0], made()[1], replace(OPTIONS, weight_granularity="channel")))


def test_options_that_cannot_be_are_refused() -> None:
    with pytest.raises(ConfigError, match='cost: must be "ebops" where descent_passes is set'):
        replace(OPTIONS, cost="average_bitwidth")
    with pytest.raises(ConfigError, match='cost: must be "ebops" where line_networks is set'):
        replace(OPTIONS, descent_passes=0, line_networks=2, cost="average_bitwidth")
    with pytest.raises(ConfigError, match="descent_growth"):
        replace(OPTIONS, descent_growth=0.5)
