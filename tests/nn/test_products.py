"""Products and attention: each operand has a format and a range of its own, whatever spells the call."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from chop.actions.search.search_space.mixed_precision_ptq import MixedPrecisionPTQ
from chop.evaluation.plan_runner import PlanRunner
from chop.ir import MaseGraph
from chop.passes.graph import calibrate_analysis_pass, quantize_transform_pass

AUTO = {"name": "integer", "data_in_width": 8, "data_in_frac_width": "auto"}
SCALED = {"name": "scale_integer", "data_in_width": 8}


class Net(nn.Module):
    def __init__(self, function: Callable[..., Tensor]) -> None:
        super().__init__()
        self.layer = nn.Linear(16, 16)
        self.gamma = nn.Parameter(torch.full((16,), 1e-2))
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(self.gamma, self.layer(x))


def calibrated(model: nn.Module, x: Tensor) -> MaseGraph:
    graph, _ = calibrate_analysis_pass(MaseGraph(model), {"input_generator": [{"x": x}], "num_samples": len(x)})
    return graph


def rounded(tensor: Tensor) -> Tensor:
    """Eight bits with the scale that covers the tensor, from the definition."""
    scale = tensor.abs().max() / 127
    return (tensor / scale).round() * scale


@pytest.mark.parametrize(
    "function",
    [
        lambda gamma, h: gamma * h,
        lambda gamma, h: h * gamma,
        lambda gamma, h: h.mul(gamma),
        lambda gamma, h: torch.multiply(input=h, other=gamma),
        lambda gamma, h: h.mul(other=gamma),
    ],
)
def test_the_factors_of_a_product_have_a_range_each(function: Callable[..., Tensor]) -> None:
    torch.manual_seed(0)
    model, x = Net(function).eval(), 4 * torch.randn(256, 16)
    graph, _ = quantize_transform_pass(calibrated(model, x), {"by": "type", "mul": {"config": SCALED}})
    wanted = rounded(model.gamma.detach()) * rounded(model.layer(x))
    torch.testing.assert_close(graph.model(x), wanted, rtol=1e-4, atol=1e-6)
    assert [set(dict(formats)) for _, formats in graph.plan.choices] == [{"data_in", "other"}]
    plan, fresh = graph.plan, calibrated(model, x)
    torch.testing.assert_close(PlanRunner(fresh, [(x, torch.zeros(256))]).predictions(plan), graph.model(x))
    graph, _ = quantize_transform_pass(graph, {"by": "type", "mul": {"config": AUTO}})
    assert (graph.model(x) - model(x)).norm() < 0.02 * model(x).norm()


def test_a_factor_has_a_format_of_its_own_where_keys_name_one() -> None:
    config = {"name": "integer", "data_in_width": 8, "data_in_frac_width": 6, "other_width": 4, "other_frac_width": 1}
    graph, _ = quantize_transform_pass(
        MaseGraph(Net(lambda gamma, h: h * gamma)), {"by": "type", "mul": {"config": config}}
    )
    assert {operand: str(chosen) for operand, chosen in graph.plan["mul"].items()} == {
        "data_in": "integer 8b/6f",
        "other": "integer 4b/1f",
    }


@pytest.mark.parametrize("function", [lambda gamma, h: 0.5 * h, lambda gamma, h: h * 0.5, lambda gamma, h: h.mul(0.5)])
def test_a_product_with_a_number_has_one_operand(function: Callable[..., Tensor]) -> None:
    graph = MaseGraph(Net(function))
    (op,) = (op for op in graph.quantizable_nodes().values() if op.name == "mul")
    assert op.operands == ("data_in", "data_out")
    config = {"name": "integer", "data_in_width": 8, "data_in_frac_width": 2, "other_width": 2, "other_frac_width": 0}
    graph, _ = quantize_transform_pass(graph, {"by": "type", "mul": {"config": config}})
    x = torch.randn(3, 16)
    assert torch.equal(graph.model(x), graph.model.layer(x).mul(4).round().clamp(-128, 127) / 8)


def test_a_product_with_a_mask_is_searched_by_its_values_alone() -> None:
    class Masked(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return (x > 0) * x

    graph = MaseGraph(Masked(), example_inputs=torch.randn(4, 3))
    seed = {"mul": {"config": {"name": ["integer"], "data_in_width": [4, 8], "data_in_frac_width": [2]}}}
    space = MixedPrecisionPTQ(graph, seed, "type")
    assert not space.problems()
    assert space.size == 2
    assert [list(space.plan(space.point(i))["mul"]) for i in range(2)] == [["other"], ["other"]]


@pytest.mark.parametrize(
    ("keys", "size"),
    [({"data_in_width": [4, 8]}, 2), ({"data_in_width": [4, 8], "other_width": [2, 4, 8]}, 6)],
)
def test_the_space_has_choices_for_the_second_factor_where_keys_name_it(keys: dict[str, Any], size: int) -> None:
    space = MixedPrecisionPTQ(
        MaseGraph(Net(lambda gamma, h: h * gamma)), {"mul": {"config": {"name": ["integer"], **keys}}}, "type"
    )
    assert not space.problems()
    assert space.size == size
    for index in range(size):
        point = space.point(index)
        assert space.index(point) == index
        assert space.plan(point)["mul"].keys() == {"data_in", "other"}
        assert space.rebuild_model(space.flattened_indexes_to_config(point)).plan == space.plan(point)


class Attention(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        query, key, value = 50 * x, 0.01 * x, x.flip(-1)
        return F.scaled_dot_product_attention(query, key, value)


def test_query_key_and_value_have_a_range_each() -> None:
    torch.manual_seed(0)
    x = torch.randn(8, 2, 6, 4)
    graph = calibrated(Attention(), x)
    graph, _ = quantize_transform_pass(graph, {"by": "type", "scaled_dot_product_attention": {"config": SCALED}})
    query, key, value = rounded(50 * x), rounded(0.01 * x), rounded(x.flip(-1))
    wanted = torch.softmax(query @ key.transpose(-2, -1) / 2, -1) @ value  # from the definition
    torch.testing.assert_close(graph.model(x), wanted, rtol=1e-4, atol=1e-5)
    assert graph.plan["scaled_dot_product_attention"].keys() == {"data_in", "key", "value"}
