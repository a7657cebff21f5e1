"""Plans one after the other on shared values equal plans on fresh graphs, bit for bit."""

from __future__ import annotations

import random

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from chop.evaluation import plan_runner
from chop.evaluation.plan_runner import PlanRunner
from chop.formats import Format, Integer
from chop.ir import MaseGraph, QuantPlan


class Net(nn.Module):
    """A residual, a shared module, a branch; in place where asked for."""

    def __init__(self, in_place: bool) -> None:
        super().__init__()
        self.first, self.shared, self.last = nn.Linear(6, 6), nn.Linear(6, 6), nn.Linear(6, 3)
        self.relu = nn.ReLU(inplace=in_place)

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.relu(self.first(x))
        hidden = self.shared(hidden) + F.relu(self.shared(hidden * 0.5))
        return self.last(hidden) - self.last(x)


def drawn_plans(graph: MaseGraph, number: int) -> list[QuantPlan]:
    """Each differs from the one before at one node."""
    choose = random.Random(0)
    formats: dict[str, dict[str, Format]] = {}
    plans = []
    for _ in range(number):
        name = choose.choice(list(graph.quantizable_nodes()))
        widths = {operand: Integer(choose.randint(2, 6)) for operand in ("data_in", "weight", "data_out")}
        operands = graph.quantizable_nodes()[name].operands
        formats[name] = {k: v for k, v in widths.items() if k in operands} if choose.random() < 0.8 else {}
        plans.append(QuantPlan.of(formats))
    return plans


@pytest.mark.parametrize("in_place", [False, True])
@pytest.mark.parametrize("most_bytes", [2**29, 0])
def test_shared_values_change_nothing(in_place: bool, most_bytes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan_runner, "MOST_BYTES", most_bytes)
    graph = MaseGraph(Net(in_place).eval())
    batches = [(torch.randn(rows, 6), torch.zeros(rows)) for rows in (5, 3)]
    runner = PlanRunner(graph, batches)
    for plan in drawn_plans(graph, 40):
        fresh = PlanRunner(MaseGraph(graph.model), [(x.clone(), y) for x, y in batches])
        assert torch.equal(runner.predictions(plan), fresh.predictions(plan))


def test_an_interrupted_plan_leaves_nothing_half_done(monkeypatch: pytest.MonkeyPatch) -> None:
    graph = MaseGraph(Net(False).eval())
    runner = PlanRunner(graph, [(torch.randn(5, 6), torch.zeros(5))])
    first, second = drawn_plans(graph, 12)[-2:]
    expected = runner.predictions(first)

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(plan_runner, "predictions_of", interrupted)
        with pytest.raises(KeyboardInterrupt):
            runner.predictions(second)
    assert torch.equal(runner.predictions(first), expected)


def test_a_stream_leaves_gradients_as_its_reader_has_them() -> None:
    """Also between two batches and where the reader stops early: outputs have none, what the reader does may."""
    model = Net(in_place=False)
    runner = PlanRunner(MaseGraph(model), [(torch.randn(4, 6), torch.zeros(4).long()) for _ in range(2)])
    stream = runner.stream(QuantPlan())
    outputs, _ = next(stream)
    assert torch.is_grad_enabled() and not outputs.requires_grad
    with torch.no_grad():
        outputs, _ = next(stream)
    assert torch.is_grad_enabled() and not outputs.requires_grad
    assert model.first(torch.randn(1, 6)).requires_grad
