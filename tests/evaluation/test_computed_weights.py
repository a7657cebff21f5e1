"""Weights that forward computes are rounded, and formats measured on them, in every way."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from chop.formats import Integer, ScaleInteger
from chop.ir import MaseGraph, QuantPlan
from chop.passes.graph import calibrate_analysis_pass, quantize_transform_pass
from tests.evaluation.all_ways import all_ways, require_same, saved_and_loaded

Q = Integer(5, 3)
q = Q.quantize


class Net(nn.Module):
    """A layer whose weight `compute` makes, a rectifier and a layer."""

    def __init__(self, compute: Callable[[Net, Tensor], Tensor], is_conv: bool = False) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.w, self.a, self.b = (nn.Parameter(torch.randn(*shape)) for shape in ((5, 6), (2, 6), (5, 2)))
        self.register_buffer("mask", (torch.rand(5, 6) > 0.3).float())
        self.offset = nn.Parameter(torch.randn(5))
        self.last = nn.Linear(5, 3)
        self.compute, self.is_conv = compute, is_conv

    def forward(self, x: Tensor) -> Tensor:
        weight = self.compute(self, x)
        h = (
            F.conv1d(x[:, :, None], weight[:, :, None], self.offset * 2)[:, :, 0]
            if self.is_conv
            else F.linear(x, weight)
        )
        found: Tensor = self.last(torch.relu(h))
        return found


COMPUTE = {
    "mask": lambda net, x: net.w * net.mask,
    "LoRA": lambda net, x: net.w + net.b @ net.a,
    "standardised": lambda net, x: (net.w - net.w.mean()) / (net.w.std() + 1e-5),
    "transposed": lambda net, x: net.w.t().contiguous().t(),
    "from the data": lambda net, x: net.w * x.abs().mean(),
}


def layer_of(graph: MaseGraph) -> str:
    return next(name for name, op in graph.quantizable_nodes().items() if op.name in ("linear", "conv1d"))


@pytest.mark.parametrize("name", COMPUTE)
@pytest.mark.parametrize("is_conv", [False, True])
def test_computed_weights_are_rounded(name: str, is_conv: bool, tmp_path: Path) -> None:
    net, x = Net(COMPUTE[name], is_conv).eval(), torch.randn(20, 6)
    graph = MaseGraph(net)
    formats = {layer_of(graph): {"data_in": Q, "weight": Q} | ({"bias": Q} if is_conv else {})}
    found = all_ways(graph, formats, x)
    with torch.no_grad():
        bias = q(2 * net.offset) if is_conv else None
        wanted = net.last(torch.relu(F.linear(q(x), q(net.compute(net, x)), bias)))
        require_same(found, wanted, net(x))
    torch.testing.assert_close(saved_and_loaded(graph, formats, Net(COMPUTE[name], is_conv), x, tmp_path), wanted)


@pytest.mark.parametrize("name", COMPUTE)
@pytest.mark.parametrize("granularity", ["tensor", "channel"])
def test_formats_are_measured_on_them(name: str, granularity: str) -> None:
    net, x = Net(COMPUTE[name]).eval(), torch.randn(20, 6)
    graph = MaseGraph(net)
    if name == "from the data":
        graph, _ = calibrate_analysis_pass(graph, {"input_generator": [{"x": x}, {"x": x / 2}]})
    config: dict[str, Any] = {"name": "scale_integer", "weight_width": 8, "weight_granularity": granularity}
    layer = layer_of(graph)
    graph, info = quantize_transform_pass(graph, {"by": "name", layer: {"config": config}})
    chosen = info["plan"][layer]["weight"]
    assert isinstance(chosen, ScaleInteger)
    weight = net.compute(net, x).abs().detach()
    largest = weight.amax(1) if granularity == "channel" else weight.max().reshape(1)
    torch.testing.assert_close(torch.tensor(chosen.scale), largest / 127)


def test_formats_upstream_have_a_part() -> None:
    net, x = Net(COMPUTE["mask"]).eval(), torch.randn(20, 6)
    graph = MaseGraph(net)
    formats = {"mul": {"data_in": Integer(3, 1), "weight": Integer(3, 1)}, layer_of(graph): {"weight": Q}}
    formats["mul"] = {operand: Integer(3, 1) for operand in graph.quantizable_nodes()["mul"].operands[:-1]}
    with torch.no_grad():
        r = Integer(3, 1).quantize
        wanted = net.last(torch.relu(F.linear(x, q(r(net.w) * r(net.mask)))))
        require_same(all_ways(graph, formats, x), wanted, net(x))


def test_changed_parameters_are_measured_anew() -> None:
    graph = MaseGraph(Net(COMPUTE["mask"]))
    plan = QuantPlan.of({layer_of(graph): {"weight": ScaleInteger(width=8)}})
    graph.apply_plan(plan)
    before = graph.plan[layer_of(graph)]["weight"] if layer_of(graph) in graph.plan else None
    with torch.no_grad():
        graph.model.w.mul_(10)
    graph.apply_plan(plan)
    after = graph.plan[layer_of(graph)]["weight"]
    assert isinstance(before, ScaleInteger)
    assert isinstance(after, ScaleInteger)
    assert after.scale == pytest.approx([10 * scale for scale in before.scale or ()])
