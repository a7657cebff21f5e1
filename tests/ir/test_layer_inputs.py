"""What layers multiply with their weights: the squared errors that follow, against the layers themselves."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from chop.errors import GraphError
from chop.formats import Integer
from chop.ir import MaseGraph, QuantPlan
from chop.ir.graph.layer_inputs import layer_inputs
from chop.passes.graph import calibrate_analysis_pass
from chop.weight_transforms import Chain, WeightRounding

MODULES: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "linear": (lambda: nn.Linear(6, 4), (6,)),
    "linear on sequences": (lambda: nn.Linear(6, 4), (3, 6)),
    "conv1d": (lambda: nn.Conv1d(4, 6, 3, padding=1), (4, 7)),
    "conv1d, groups": (lambda: nn.Conv1d(4, 6, 3, groups=2, stride=2, dilation=2), (4, 9)),
    "conv2d": (lambda: nn.Conv2d(3, 4, (3, 2), padding=1, padding_mode="circular"), (3, 5, 6)),
    "conv2d, groups": (lambda: nn.Conv2d(4, 8, 3, groups=4, dilation=2, padding=2), (4, 6, 6)),
    "conv2d, padded alike": (lambda: nn.Conv2d(2, 3, 3, padding="same", bias=False), (2, 5, 5)),
    "conv3d": (lambda: nn.Conv3d(2, 4, 2, groups=2), (2, 3, 4, 3)),
    "conv_transpose1d": (lambda: nn.ConvTranspose1d(4, 6, 3, stride=2, output_padding=1), (4, 5)),
    "conv_transpose1d, groups": (lambda: nn.ConvTranspose1d(4, 6, 3, groups=2, padding=1), (4, 5)),
    "conv_transpose2d, groups": (lambda: nn.ConvTranspose2d(4, 4, 2, stride=2, groups=2, dilation=2), (4, 3, 4)),
}


class Called(nn.Module):
    """A function of `x` and a parameter."""

    def __init__(self, weight: Tensor, call: Callable[[Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.weight, self.call = nn.Parameter(weight), call

    def forward(self, x: Tensor) -> Tensor:
        return self.call(x, self.weight)


FUNCTIONS: dict[str, tuple[tuple[int, ...], Callable[[Tensor, Tensor], Tensor], tuple[int, ...]]] = {
    "F.linear": ((4, 6), F.linear, (6,)),
    "F.conv2d": ((4, 2, 3, 3), lambda x, w: F.conv2d(x, w, None, stride=2, groups=2, padding=1), (4, 6, 6)),
    "F.conv_transpose2d": ((4, 3, 2, 2), lambda x, w: F.conv_transpose2d(x, w, stride=2, groups=2), (4, 3, 3)),
    "matmul": ((6, 4), lambda x, w: x @ w, (6,)),
    "matmul on sequences": ((6, 4), torch.matmul, (3, 6)),
    "matmul with a vector": ((6,), lambda x, w: x @ w, (3, 6)),
    "matmul by head": ((2, 6, 4), lambda x, w: x @ w, (2, 3, 6)),
    "addmm": ((6, 4), lambda x, w: torch.addmm(w.new_ones(4), x, w, alpha=2.0), (6,)),
}


def model_of(name: str) -> tuple[nn.Module, tuple[int, ...]]:
    torch.manual_seed(0)
    if name in MODULES:
        make, shape = MODULES[name]
        return nn.Sequential(make()).eval(), shape
    weight, call, shape = FUNCTIONS[name]
    return Called(torch.randn(weight), call).eval(), shape


def graph_of(model: nn.Module, x: Tensor) -> tuple[MaseGraph, str]:
    graph = MaseGraph(model)
    calibrate_analysis_pass(graph, {"input_generator": [{str(graph.nodes[0].target): x}]})
    name = next(name for name, op in graph.quantizable_nodes().items() if op.multiplies)
    return graph, name


@pytest.mark.parametrize("name", [*MODULES, *FUNCTIONS])
def test_squared_errors_are_those_of_the_layer(name: str) -> None:
    model, shape = model_of(name)
    x = torch.randn(11, *shape)
    graph, node = graph_of(model, x)
    summands = layer_inputs(graph, node).summands
    weight: Any = next(own for key, own in model.named_parameters() if "bias" not in key)
    change = torch.randn_like(weight)
    matrices = summands.matrices.split(change)
    assert torch.equal(summands.matrices.joined(matrices, change.shape), change)
    with torch.no_grad():
        before = model.double()(x.double())
        weight.add_(change)
        moved = model(x.double()) - before
    torch.testing.assert_close(summands.errors(change).sum(), moved.square().sum(), rtol=1e-5, atol=0)
    assert summands.count * matrices.shape[0] * matrices.shape[1] == moved.numel()


@pytest.mark.parametrize("name", [*MODULES, *FUNCTIONS])
def test_no_layer_is_further_from_float_than_with_nearest(name: str) -> None:
    model, shape = model_of(name)
    x = torch.randn(11, *shape).cumsum(-1)
    graph, node = graph_of(model, x)
    with torch.no_grad():
        wanted = graph.model(x)

        def error(chosen: Any) -> float:
            graph.apply_plan(QuantPlan.of({node: {"weight": chosen}}))
            return float((graph.model(x) - wanted).square().sum())

        nearest, second_order = Integer(4, "auto"), Chain((WeightRounding("gptq"),), Integer(4, "auto"))
        assert error(second_order) <= error(nearest) * (1 + 1e-6)


def test_parts_of_the_samples_make_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    model, shape = model_of("conv2d")
    x = torch.randn(11, *shape)
    whole = layer_inputs(*graph_of(model, x)).summands
    monkeypatch.setattr("chop.ir.graph.layer_inputs.MOST_VALUES", 1)
    parts = layer_inputs(*graph_of(model, x)).summands
    torch.testing.assert_close(parts.gram, whole.gram)
    assert parts.count == whole.count


def test_fewer_results_than_inputs_are_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    model, shape = model_of("linear")
    graph, node = graph_of(model, torch.randn(4, *shape))
    plan = QuantPlan.of({node: {"weight": Chain((WeightRounding("gptq"),), Integer(4, 2))}})
    with caplog.at_level("WARNING", logger="chop"):
        graph.apply_plan(plan)
        graph.apply_plan(plan)
    (record,) = [record for record in caplog.records if "second-order" in record.getMessage()]
    assert "6 inputs is measured on 4 results only" in record.getMessage()
    assert "raise calibration_rows" in record.getMessage()


def test_weights_that_follow_from_the_data_are_refused() -> None:
    class Computed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.randn(4, 6))

        def forward(self, x: Tensor) -> Tensor:
            return F.linear(x, self.weight * x.mean())

    x = torch.randn(20, 6)
    graph, node = graph_of(Computed(), x)
    with pytest.raises(GraphError, match=f"node '{node}', weight: .*follow from the data.*choose nearest"):
        graph.apply_plan(QuantPlan.of({node: {"weight": Chain((WeightRounding("gptq"),), Integer(4, 2))}}))


def test_without_calibration_it_is_refused() -> None:
    graph = MaseGraph(nn.Sequential(nn.Linear(6, 4)))
    node = next(iter(graph.quantizable_nodes()))
    with pytest.raises(GraphError, match="calibrate the graph first"):
        graph.apply_plan(QuantPlan.of({node: {"weight": Chain((WeightRounding("gptq"),), Integer(4, 2))}}))


def test_results_are_the_same_on_any_number_of_threads() -> None:
    model, shape = model_of("linear")
    x = torch.randn(5000, *shape)
    found = []
    for threads in (1, 3):
        torch.set_num_threads(threads)
        graph, node = graph_of(model, x)
        found.append(graph.freeze(QuantPlan.of({node: {"weight": Chain((WeightRounding("gptq"),), Integer(4, 2))}})))
    assert found[0] == found[1]
