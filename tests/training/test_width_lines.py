"""A line of networks: each is what was measured, none is worse than the one before it, and a cut line goes on."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from chop.api.data import data_module_of
from chop.errors import GraphError
from chop.ir import MaseGraph
from chop.training.learned_widths import Snapshot, WidthTraining, snapshot_graph, train_widths
from chop.training.soft_loss import SoftLoss
from chop.training.width_lines import train_line

OPTIONS = WidthTraining(
    epochs=4,
    batch_size=64,
    width_learning_rate=0.1,
    first_factor=1e-5,
    last_factor=1e-4,
    cycles=1,
    snapshots=1,
    teacher_share=0.0,
    error_share=0.5,
    descent_epochs=2,
)
FACTORS = (1e-4, 2e-4, 4e-4)


def made() -> tuple[MaseGraph, Any]:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 12), nn.ReLU(), nn.Linear(12, 6), nn.ReLU(), nn.Linear(6, 3))
    x = torch.randn(512, 8)
    return MaseGraph(model), data_module_of((x, x[:, :3].argmax(1)))


def line(options: WidthTraining, *, restart: int = 0) -> tuple[MaseGraph, Any, list[Snapshot]]:
    graph, data = made()
    (start,) = train_widths(graph, data, options)
    lower = train_line(graph, data, options, start, FACTORS, tries=300, rounds=2, restart_epochs=restart)
    return graph, data, [start, *lower]


@pytest.mark.parametrize(("rounding", "restart"), [("half_even", 0), ("half_up", 0), ("half_up", 3)])
def test_networks_get_cheaper_and_none_is_worse_than_the_one_before(rounding: Any, restart: int) -> None:
    """Loss plus factor times cost by the graph's own outputs; and the validation loss is that of the graph."""
    graph, data, found = line(replace(OPTIONS, activation_rounding=rounding), restart=restart)
    x, y = (torch.cat(own) for own in zip(*data.batches("train"), strict=True))
    held, wanted = (torch.cat(own) for own in zip(*data.batches("val"), strict=True))
    loss = SoftLoss(0.5)

    def of(own: Snapshot, x: Tensor, y: Tensor) -> float:
        return loss.of_classes(snapshot_graph(graph, own).model(x).detach(), y)

    assert [own.factor for own in found[1:]] == list(FACTORS)
    for before, own in pairwise(found):
        sums = [of(it, x, y) + own.factor * it.cost for it in (before, own)]
        assert sums[1] <= sums[0] + 1e-6
        assert own.validation_loss == pytest.approx(of(own, held, wanted), rel=1e-5)
    assert found[-1].cost < found[0].cost / 2


@pytest.mark.parametrize("restart", [0, 3])
def test_a_cut_line_goes_on_to_the_bit(restart: int) -> None:
    graph, data, found = line(OPTIONS, restart=restart)
    again = train_line(graph, data, OPTIONS, found[1], FACTORS[1:], tries=300, rounds=2, restart_epochs=restart)
    for own, wanted in zip(again, found[2:], strict=True):
        assert (own.cost, own.validation_loss) == (wanted.cost, wanted.validation_loss)
        assert own.state.keys() == wanted.state.keys()
        assert all(torch.equal(own.state[name], tensor) for name, tensor in wanted.state.items())


def test_where_nothing_is_better_the_network_stays() -> None:
    """With no factor, training at a rate of zero and no changes, all networks are the first one."""
    options = replace(OPTIONS, learning_rate=0.0, width_learning_rate=1e-9)
    graph, data = made()
    (start,) = train_widths(graph, data, options)
    (own,) = train_line(graph, data, options, start, (0.0,), tries=0, rounds=1)
    assert own.cost == start.cost
    assert all(torch.equal(own.weights[name], tensor) for name, tensor in start.weights.items())


def test_a_restart_trains_at_the_full_rates() -> None:
    """Without changes and rounds, a network of a line moves by its restart, and by the shift of the last layer."""
    graph, data = made()
    (start,) = train_widths(graph, data, OPTIONS)
    (stays,) = train_line(graph, data, OPTIONS, start, (1e-2,), tries=0, rounds=0)
    (moves,) = train_line(graph, data, OPTIONS, start, (1e-2,), tries=0, rounds=0, restart_epochs=20)
    assert stays.cost > 0.95 * start.cost
    assert moves.cost < 0.9 * start.cost


def test_a_network_that_is_no_chain_is_refused() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(2 * 4, 3))
    graph, data = MaseGraph(model), data_module_of((torch.randn(64, 1, 4, 4), torch.randint(0, 3, (64,))))
    (start,) = train_widths(graph, data, replace(OPTIONS, error_share=0.0))
    with pytest.raises(GraphError, match="chain of linear layers"):
        next(train_line(graph, data, OPTIONS, start, FACTORS))
