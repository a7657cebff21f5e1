"""Arguments that the data does not give keep their defaults in a graph: the branch that runs is the data's."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from chop.errors import GraphError
from chop.evaluation.plan_runner import PlanRunner
from chop.ir import MaseGraph, QuantPlan
from chop.passes.graph import quantize_transform_pass


class Net(nn.Module):
    """Calls `run(net, *args, **kwargs)`."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.a, self.b = nn.Linear(6, 6), nn.Linear(6, 6)


class Masked(Net):
    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        if mask is not None:
            x = x * mask
        return self.b(F.relu(self.a(x)))


class Features(Net):
    def forward(self, x: Tensor, features: bool = False, dropped: Any = None) -> Tensor:
        h = self.a(x)
        if dropped is not None or features:
            return h
        return self.b(h)


class Keywords(Net):
    def forward(self, x: Tensor, **more: Any) -> Tensor:
        h = self.a(x)
        return self.b(h) * more["scale"] if "scale" in more else self.b(h)


class Several(Net):
    def forward(self, *parts: Tensor) -> Tensor:
        h = self.a(parts[0])
        for part in parts[1:]:
            h = h + self.b(part)
        return h


class KeywordOnly(Net):
    def forward(self, x: Tensor, *, mask: Tensor | None = None, return_dict: bool = True) -> Any:
        h = self.b(self.a(x) if mask is None else self.a(x) * mask)
        return {"logits": h} if return_dict else (h,)


class PositionalOnly(Net):
    def forward(self, x: Tensor, y: Tensor | None = None, /) -> Tensor:
        return self.b(self.a(x)) if y is None else self.b(self.a(x + y))


class Nested(Net):
    def forward(self, pair: tuple[Tensor, Tensor], more: dict[str, Tensor] | None = None) -> Tensor:
        first, second = pair
        h = self.a(first) + self.b(second)
        return h if more is None else h + more["x"]


class IsInstance(Net):
    def forward(self, x: Tensor) -> Tensor:
        return self.b(self.a(x)) if isinstance(x, Tensor) else x[0]


class OtherOrder(Net):
    def forward(self, weight: Tensor, x: Tensor) -> Tensor:
        return self.a(x) * weight + self.b(weight)


def rows(seed: int = 0) -> Tensor:
    return torch.randn(4, 6, generator=torch.Generator().manual_seed(seed))


CASES: dict[str, tuple[Callable[[], nn.Module], Any]] = {
    "mask absent": (Masked, rows()),
    "mask given": (Masked, {"x": rows(), "mask": rows(1)}),
    "mask given in a tuple": (Masked, (rows(), rows(1))),
    "mask is None": (Masked, {"x": rows(), "mask": None}),
    "flag absent": (Features, rows()),
    "flag given": (Features, {"x": rows(), "features": True}),
    "keywords absent": (Keywords, rows()),
    "keywords given": (Keywords, {"x": rows(), "scale": rows(1)}),
    "several": (Several, (rows(), rows(1), rows(2))),
    "keyword only": (KeywordOnly, {"x": rows(), "mask": rows(1)}),
    "keyword only absent": (KeywordOnly, rows()),
    "no dictionary": (KeywordOnly, {"x": rows(), "return_dict": False}),
    "positional only": (PositionalOnly, (rows(), rows(1))),
    "positional only absent": (PositionalOnly, rows()),
    "nested": (Nested, ((rows(), rows(1)),)),
    "nested given": (Nested, {"pair": (rows(), rows(1)), "more": {"x": rows(2)}}),
    "is instance": (IsInstance, rows()),
    "other order": (OtherOrder, {"x": rows(), "weight": rows(1)}),
}


def called(model: Any, x: Any) -> Tensor:
    args, kwargs = ((), x) if isinstance(x, dict) else (x if isinstance(x, tuple) else (x,), {})
    found = model(*args, **kwargs)
    return next(iter(found.values())) if isinstance(found, dict) else found[0] if isinstance(found, tuple) else found


@pytest.mark.parametrize("kind", CASES)
def test_the_graph_takes_the_branch_of_the_data(kind: str) -> None:
    build, x = CASES[kind]
    model = build()
    graph = MaseGraph(model, example_inputs=x)
    assert len(graph.quantizable_nodes()) > 0
    want = called(model, x)
    for one in (graph, copy.deepcopy(graph), pickle.loads(pickle.dumps(graph))):
        torch.testing.assert_close(called(one.model, x), want)


@pytest.mark.parametrize("kind", ["mask absent", "mask given", "mask is None", "several", "keywords given"])
def test_plans_are_run_on_such_graphs(kind: str) -> None:
    build, x = CASES[kind]
    graph = MaseGraph(build(), example_inputs=x)
    config = {"name": "integer", "weight_width": 4, "weight_frac_width": 2}
    quantised, info = quantize_transform_pass(copy.deepcopy(graph), {"by": "type", "linear": {"config": config}})
    runner = PlanRunner(graph, [(x, torch.zeros(4))])
    with torch.no_grad():
        assert torch.equal(runner.predictions(info["plan"]), called(quantised.model, x))
        assert torch.equal(runner.predictions(QuantPlan()), called(graph.model, x))


def test_without_data_none_stays_none_and_nothing_else_is_taken() -> None:
    x = rows()
    for model in (Masked(), Features(), Keywords()):
        graph = MaseGraph(model)
        assert torch.equal(graph.model(x), model(x))
    with pytest.raises(GraphError, match=r"traced with mask = None.*example_inputs"):
        MaseGraph(Masked()).model(x, mask=rows(1))
    with pytest.raises(GraphError, match="features = True"):
        MaseGraph(Features(), example_inputs={"x": x, "features": True}).model(x, features=False)


@pytest.mark.parametrize("x", [(rows(), rows(1), rows(2)), {"x": rows(), "maks": rows(1)}, {"mask": rows()}])
def test_data_that_forward_has_no_place_for_is_told(x: Any) -> None:
    with pytest.raises(GraphError, match=r"the model takes \(x: .*mask.*but the data gives"):
        MaseGraph(Masked(), example_inputs=x)


class BranchesOnValues(Net):
    def forward(self, x: Tensor) -> Tensor:
        return self.a(x) if x.sum() > 0 else self.b(x)


def test_branches_on_values_are_refused_with_a_cure() -> None:
    with pytest.raises(GraphError, match="rewrite what they name"):
        MaseGraph(BranchesOnValues(), example_inputs=rows())
