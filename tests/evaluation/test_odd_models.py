"""Models that are written in unusual ways get the same figures at once, plan by plan, and alone; or are refused."""

from __future__ import annotations

import copy
from collections.abc import Callable
from itertools import product
from typing import NamedTuple

import pytest
import torch
from torch import Tensor, fx, nn
from torch.nn.utils import parametrizations

from chop.actions.setup import traced
from chop.errors import ChopError, GraphError
from chop.evaluation.evaluator import Evaluator
from chop.evaluation.measures import WholePredictions
from chop.evaluation.plan_runner import PlanRunner
from chop.formats import Format, Integer
from chop.ir import MaseGraph, QuantPlan
from tests.scores import score

ROWS = 40


class Two(nn.Module):
    """Two layers."""

    def __init__(self, wrap: Callable[[nn.Linear], nn.Module] = lambda layer: layer) -> None:
        super().__init__()
        self.a, self.b = wrap(nn.Linear(6, 6)), nn.Linear(6, 6)

    def forward(self, x: Tensor) -> Tensor:
        return self.b(torch.relu(self.a(x)))


class WritesOut(Two):
    def forward(self, x: Tensor) -> Tensor:
        h = self.a(x)
        return torch.add(h, self.b(h), out=h)


class WritesOnInput(Two):
    def forward(self, x: Tensor) -> Tensor:
        return self.b(self.a(torch.mul(x, 2.0, out=x)))


class OneBatchSize(Two):
    def forward(self, x: Tensor) -> Tensor:
        return (self.b(self.a(x)).view(ROWS // 2, 2, 6) + torch.ones(ROWS // 2, 2, 6)).view(ROWS, 6)


class Masked(Two):
    def forward(self, x: Tensor) -> Tensor:
        return self.b(self.a(x)) + torch.tensor([0.0, 0.0, float("-inf"), 0.0, 0.0, 0.0])


class Named(NamedTuple):
    logits: Tensor
    other: Tensor


class GivesNamed(Two):
    def forward(self, x: Tensor) -> Named:
        return Named(self.b(self.a(x)), x)


def hooked(layer: nn.Linear) -> nn.Module:
    layer.register_forward_hook(lambda module, inputs, output: 3 * output + 1)
    return layer


def formats(bits: int) -> dict[str, Format]:
    return {name: Integer(bits, bits // 2) for name in ("data_in", "weight", "bias")}


@pytest.mark.parametrize(
    "build",
    [
        lambda: Two(parametrizations.spectral_norm),
        lambda: Two(parametrizations.orthogonal),
        lambda: Two(parametrizations.weight_norm),
        lambda: Two(hooked),
        lambda: Masked(hooked),
        WritesOut,
        WritesOnInput,
        OneBatchSize,
        GivesNamed,
    ],
)
def test_all_ways_give_the_same(build: Callable[[], nn.Module]) -> None:
    torch.manual_seed(0)
    x, y = torch.randn(ROWS, 6), torch.zeros(ROWS)
    graph = MaseGraph(build().eval())
    plans = [QuantPlan.of({"a": formats(a), "b": formats(b)}) for a, b in product((4, 8), repeat=2)]
    wanted = []
    for plan in plans:
        own = copy.deepcopy(graph)
        own.apply_plan(plan)
        with torch.no_grad():
            found = own.model(x.clone())
        wanted.append(found if isinstance(found, Tensor) else found.logits)
    runner = PlanRunner(graph, [(x.clone(), y)])
    for plan, one in zip(plans, wanted, strict=True):
        assert torch.equal(runner.predictions(plan), one)
    try:
        evaluator = Evaluator(graph, [[{name: formats(bits)} for bits in (4, 8)] for name in "ab"], [(x.clone(), y)])
    except GraphError:
        return  # it stands back: such a model is run plan by plan
    example = evaluator.program.example
    measure = WholePredictions(y, lambda found, targets: {"sum": float(found.sum())}, example, ["sum"])
    evaluator.run_sorted(torch.cartesian_prod(torch.arange(2), torch.arange(2)).numpy(), [measure])
    assert torch.equal(measure.predictions, torch.stack(wanted))


@pytest.mark.parametrize("wrap", [parametrizations.spectral_norm, parametrizations.orthogonal])
def test_parametrised_weights_are_on_the_grid_and_can_be_trained(wrap: Callable[[nn.Linear], nn.Module]) -> None:
    torch.manual_seed(0)
    graph = MaseGraph(Two(wrap).eval())
    graph.apply_plan(QuantPlan.of({"a": {"weight": Integer(4, 2)}}))
    outputs = graph.model.get_submodule("a")(torch.eye(6)) - graph.model.get_submodule("a")(torch.zeros(1, 6))
    assert torch.equal((4 * outputs).round(), 4 * outputs.round(decimals=5))
    graph.model.train()
    graph.model(torch.randn(4, 6)).sum().backward()
    assert all(parameter.grad is not None for parameter in graph.model.parameters())


@fx.wrap
def write_on(h: Tensor) -> None:
    """Code that tracing does not look into."""
    h += 1.0


class ReadsWhatOthersWrote(Two):
    def forward(self, x: Tensor) -> Tensor:
        h = self.a(x)
        write_on(h)
        return self.b(h)


class Data:
    def batches(self, part: str, rows: int = 4) -> list[tuple[Tensor, Tensor]]:
        return [(torch.randn(rows, 6, generator=torch.Generator().manual_seed(0)), torch.zeros(rows))]


class Merges(Two):
    """Computes otherwise while it is trained, and counts its calls."""

    merged = False
    calls = 0

    def train(self, mode: bool = True) -> Merges:
        self.merged = not mode
        return super().train(mode)

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return self.b(self.a(x)) if self.merged else self.a(self.b(x))


class KnowsThatItIsTraced(Two):
    def forward(self, x: Tensor) -> Tensor:
        return self.a(x) if type(x) is Tensor else self.b(x)


def test_a_graph_that_is_not_its_model_is_refused() -> None:
    with pytest.raises(GraphError, match="gives other results than the model; perhaps a function"):
        traced(KnowsThatItIsTraced(), Data())
    model = ReadsWhatOthersWrote()  # torch.export sees what torch.fx does not
    x = torch.randn(4, 6)
    torch.testing.assert_close(traced(model, Data()).model(x), model(x))
    merges = Merges()
    calls = merges.calls
    assert traced(merges, Data()).quantizable_nodes()
    assert merges.calls <= calls + 1  # tracing itself
    model = Two().train()
    assert traced(model, Data()).quantizable_nodes()
    assert model.training


@pytest.mark.parametrize("writes", ["predictions", "targets"])
def test_a_metric_that_writes_on_its_arguments_is_told(writes: str) -> None:
    def metric(predictions: Tensor, targets: Tensor) -> Tensor:
        return {"predictions": predictions, "targets": targets}[writes].clamp_(max=0).float().mean()

    with pytest.raises(ChopError, match=r"metric 'own' of the data writes on its arguments .* x.clone\(\)"):
        score(torch.randn(10, 5), torch.arange(10) % 5, metrics={"own": (metric, "minimize")}, num_classes=5)
