"""The graph: its own copy, quantised and put back without a trace, whatever a model is made of."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from chop.errors import GraphError
from chop.evaluation.plan_runner import PlanRunner
from chop.formats import Integer
from chop.ir import MaseGraph, QuantPlan
from chop.models import get_model
from chop.models.checkpoint import load_weights
from chop.passes.graph import quantize_transform_pass

OPERANDS = ("data_in", "weight", "bias")
WIDTHS = {f"{name}_width": 6 for name in OPERANDS} | {f"{name}_frac_width": 3 for name in OPERANDS}
ALL_INTEGER = {"by": "type", "default": {"config": {"name": "integer", **WIDTHS}}}
SIX = Integer(6, 3)
SIX_UNSIGNED = Integer(6, 3, is_signed=False)


class Everything(nn.Module):
    """A module called twice, a residual, calls of functions, methods and operators, two inputs."""

    def __init__(self) -> None:
        super().__init__()
        self.shared = nn.Linear(6, 6)
        self.conv = nn.Conv1d(1, 2, 3, padding=1, bias=False)

    def forward(self, x: Tensor, scale: Tensor) -> Tensor:
        hidden = F.relu(self.shared(x))
        hidden = self.shared(hidden) + hidden
        rows = self.conv(hidden.unsqueeze(1)).relu()
        product = torch.bmm(rows, rows.transpose(1, 2))
        return (product.sub(0.5) * scale.reshape(-1, 1, 1)) @ rows


def everything_by_hand(model: Everything, x: Tensor, scale: Tensor) -> Tensor:
    """`Everything` with all of its operands in 6.3 fixed point, written out."""
    q, unsigned = SIX.quantize, SIX_UNSIGNED.quantize

    def shared(value: Tensor) -> Tensor:
        return F.linear(q(value), q(model.shared.weight), q(model.shared.bias))

    hidden = F.relu(unsigned(shared(x)))
    hidden = q(shared(hidden)) + q(hidden)
    rows = F.relu(unsigned(F.conv1d(q(hidden.unsqueeze(1)), q(model.conv.weight), padding=1)))
    product = torch.bmm(q(rows), q(rows.transpose(1, 2)))
    scaled = q(q(product) - 0.5) * q(scale.reshape(-1, 1, 1))
    return q(scaled) @ q(rows)


@pytest.fixture
def inputs() -> tuple[Tensor, Tensor]:
    return torch.randn(5, 6), torch.randn(5)


def test_every_kind_of_call_is_quantised_as_by_hand(inputs: tuple[Tensor, Tensor]) -> None:
    model = Everything().eval()
    graph, _ = quantize_transform_pass(MaseGraph(model), ALL_INTEGER)
    with torch.no_grad():
        torch.testing.assert_close(graph.model(*inputs), everything_by_hand(model, *inputs), rtol=0, atol=0)
    names = list(graph.quantizable_nodes())
    assert len(names) == len(set(names)) == 10
    assert {"shared", "shared_1"} <= set(names)


def test_the_calls_of_a_shared_module_can_differ(inputs: tuple[Tensor, Tensor]) -> None:
    model = Everything().eval()
    config = {"by": "name", "shared_1": {"config": {"name": "integer", **WIDTHS}}}
    graph, _ = quantize_transform_pass(MaseGraph(model), config)
    x = inputs[0]
    with torch.no_grad():
        hidden = F.relu(model.shared(x))
        q = SIX.quantize
        hidden = F.linear(q(hidden), q(model.shared.weight), q(model.shared.bias)) + hidden
        rows = model.conv(hidden.unsqueeze(1)).relu()
        product = torch.bmm(rows, rows.transpose(1, 2))
        expected = (product.sub(0.5) * inputs[1].reshape(-1, 1, 1)) @ rows
        torch.testing.assert_close(graph.model(*inputs), expected, rtol=0, atol=0)


def test_the_callers_model_is_never_changed(inputs: tuple[Tensor, Tensor]) -> None:
    model = Everything().train()
    before = copy.deepcopy(model.state_dict())
    graph, _ = quantize_transform_pass(MaseGraph(model), ALL_INTEGER)
    with torch.no_grad():
        for parameter in graph.model.parameters():
            parameter.zero_()
    assert model.training
    assert not graph.model.training
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert type(model.shared) is nn.Linear


def test_na_gives_the_float_network_back_bit_for_bit(inputs: tuple[Tensor, Tensor]) -> None:
    model = Everything().eval()
    graph = MaseGraph(model)
    code = graph.model.code
    graph, _ = quantize_transform_pass(graph, ALL_INTEGER)
    assert not torch.equal(graph.model(*inputs), model(*inputs))
    graph, _ = quantize_transform_pass(graph, {"by": "type", "default": {"config": {"name": "NA"}}})
    assert torch.equal(graph.model(*inputs), model(*inputs))
    assert graph.model.code == code
    assert [type(module) for module in graph.model.children()] == [type(module) for module in model.children()]


def test_a_quantised_graph_has_the_state_dict_of_the_model() -> None:
    model = get_model("jsc-toy", pretrained=True)
    graph, _ = quantize_transform_pass(MaseGraph(model), ALL_INTEGER)
    state = graph.model.state_dict()
    assert list(state) == list(model.state_dict())
    fresh, _ = quantize_transform_pass(MaseGraph(get_model("jsc-toy")), ALL_INTEGER)
    fresh.model.load_state_dict(state)
    x = torch.randn(9, 16)
    assert torch.equal(fresh.model(x), graph.model(x))


def test_a_deep_copy_shares_nothing(inputs: tuple[Tensor, Tensor]) -> None:
    graph, _ = quantize_transform_pass(MaseGraph(Everything()), ALL_INTEGER)
    twin = copy.deepcopy(graph)
    expected = graph.model(*inputs)
    assert torch.equal(twin.model(*inputs), expected)
    twin.apply_plan(QuantPlan())
    with torch.no_grad():
        next(twin.model.parameters()).zero_()
    assert torch.equal(graph.model(*inputs), expected)
    assert graph.plan != twin.plan


def test_a_graph_for_another_process_is_the_same(inputs: tuple[Tensor, Tensor]) -> None:
    graph, _ = quantize_transform_pass(MaseGraph(Everything()), ALL_INTEGER)
    twin = pickle.loads(pickle.dumps(graph))
    assert [node.name for node in twin.nodes] == [node.name for node in graph.nodes]
    assert twin.plan == graph.plan
    assert torch.equal(twin.model(*inputs), graph.model(*inputs))
    for one in (graph, twin):
        one.apply_plan(QuantPlan())
    assert torch.equal(twin.model(*inputs), graph.model(*inputs))


def test_a_saved_graph_comes_back_bit_for_bit(tmp_path: Path, inputs: tuple[Tensor, Tensor]) -> None:
    model = Everything()
    graph, _ = quantize_transform_pass(MaseGraph(model), ALL_INTEGER)
    path = graph.export(tmp_path / "graph.safetensors")
    loaded = MaseGraph.from_checkpoint(path, Everything())
    assert loaded.plan == graph.plan
    assert torch.equal(loaded.model(*inputs), graph.model(*inputs))


def test_a_saved_graph_of_a_named_model_needs_no_model(tmp_path: Path) -> None:
    graph, _ = quantize_transform_pass(MaseGraph(get_model("jsc-tiny", pretrained=True)), ALL_INTEGER)
    path = graph.export(tmp_path / "graph.safetensors", {"model": "jsc-tiny"})
    x = torch.randn(4, 16)
    assert torch.equal(MaseGraph.from_checkpoint(path).model(x), graph.model(x))


def test_a_picture_names_every_node_and_format(tmp_path: Path) -> None:
    graph, _ = quantize_transform_pass(MaseGraph(Everything()), ALL_INTEGER)
    text = graph.draw(tmp_path / "graph.svg").read_text(encoding="utf-8")
    assert text.startswith("<svg")
    assert all(name in text for name in graph.quantizable_nodes())
    assert "6b/3f" in text


def test_training_mode_is_kept_through_quantising() -> None:
    graph = MaseGraph(get_model("jsc-tiny"))
    graph.model.train()
    graph, _ = quantize_transform_pass(graph, ALL_INTEGER)
    assert all(module.training for module in graph.model.modules())


def test_a_plan_for_a_node_that_there_is_not_is_refused() -> None:
    with pytest.raises(GraphError, match="nowhere"):
        MaseGraph(Everything()).apply_plan(QuantPlan.of({"nowhere": {"weight": SIX}}))


def branching(condition: Callable[[Tensor], bool]) -> nn.Module:
    class Branching(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x if condition(x) else -x

    return Branching()


def test_a_branch_on_data_is_refused_with_the_cure() -> None:
    with pytest.raises(GraphError, match=r"torch\.where"):
        MaseGraph(branching(lambda x: bool(x.sum() > 0)))


def test_a_module_that_branches_can_be_kept_whole() -> None:
    inner = branching(lambda x: bool(x.sum() > 0))
    graph = MaseGraph(nn.Sequential(nn.Linear(2, 2), inner), custom_ops={"modules": [type(inner)]})
    x = torch.randn(3, 2)
    assert graph.model(x).shape == (3, 2)


def test_a_weight_that_is_used_twice_survives_quantising() -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(4, 4)

        def forward(self, x: Tensor) -> Tensor:
            return F.linear(self.layer(x), self.layer.weight)

    model, x = Tied().eval(), torch.randn(3, 4)
    graph, _ = quantize_transform_pass(MaseGraph(model), {"by": "name", "layer": ALL_INTEGER["default"]})
    q = SIX.quantize
    hidden = F.linear(q(x), q(model.layer.weight), q(model.layer.bias))
    assert torch.equal(graph.model(x), F.linear(hidden, model.layer.weight))


def test_what_works_in_place_writes_on_no_data_and_keeps_its_effect() -> None:
    class InPlace(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = nn.ReLU(inplace=True)
            self.layer = nn.Linear(4, 4)

        def forward(self, x: Tensor) -> Tensor:
            hidden = self.layer(self.first(x))
            hidden.relu_()
            return hidden

    model, x = InPlace().eval(), torch.randn(6, 4)
    before = x.clone()
    graph = MaseGraph(model)
    assert list(graph.quantizable_nodes()) == ["first", "layer", "relu_"]
    runner = PlanRunner(graph, [(x, torch.zeros(6))])
    first = runner.predictions(QuantPlan())
    assert torch.equal(runner.predictions(QuantPlan()), first)
    assert torch.equal(x, before)
    assert first.min() >= 0


def test_an_argument_that_is_none_is_no_operand() -> None:
    class NoBias(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.randn(3, 4))

        def forward(self, x: Tensor) -> Tensor:
            return F.linear(x, self.weight, None)

    assert MaseGraph(NoBias()).quantizable_nodes()["linear"].operands == ("data_in", "weight", "data_out")


def test_the_model_of_a_quantised_graph_is_not_traced_again() -> None:
    graph, _ = quantize_transform_pass(MaseGraph(get_model("jsc-tiny")), ALL_INTEGER)
    with pytest.raises(GraphError, match=r"copy\.deepcopy"):
        MaseGraph(graph.model)


def test_constants_and_other_buffers_are_saved_with_the_graph(tmp_path: Path) -> None:
    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(4, 2)
            self.register_buffer("scale", torch.tensor([2.0, 3.0]), persistent=False)

        def forward(self, x: Tensor) -> Tensor:
            return self.layer(x) * self.scale * torch.tensor([1.0, 2.0])

    graph, _ = quantize_transform_pass(MaseGraph(Scaled()), {"by": "type", "linear": ALL_INTEGER["default"]})
    path = graph.export(tmp_path / "g.safetensors")
    x, model = torch.randn(3, 4), Scaled()
    load_weights(model, path)
    assert torch.equal(MaseGraph.from_checkpoint(path, model).model(x), graph.model(x))


def test_a_plan_is_applied_without_deriving_the_ops_anew_for_each_node(monkeypatch: pytest.MonkeyPatch) -> None:
    derived = []
    derive = MaseGraph.quantizable_nodes
    monkeypatch.setattr(MaseGraph, "quantizable_nodes", lambda self: derived.append(1) or derive(self))

    def times(layers: int) -> int:
        graph = MaseGraph(nn.Sequential(*(nn.Linear(4, 4) for _ in range(layers))))
        plan = QuantPlan.of({name: {"weight": Integer(8, 4), "data_in": Integer(8, 4)} for name in derive(graph)})
        derived.clear()
        graph.apply_plan(plan)
        return len(derived)

    assert times(2) == times(8)
