"""Costs of nodes that no row of the op table describes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from chop.ir import MaseGraph
from chop.ir.graph.node_costs import node_costs
from chop.passes.graph import quantize_transform_pass


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.LSTM(8, 16, batch_first=True)
        self.matrix = nn.Parameter(torch.randn(16, 16))
        self.head = nn.Linear(16, 2)

    def forward(self, x: Tensor) -> Tensor:
        states, _ = self.layer(x)
        return self.head(torch.relu(states[:, -1] @ self.matrix))


class Own(nn.Module):
    """`call(x, weight, bias)` of parameters of its own."""

    def __init__(self, call: Callable[..., Tensor]) -> None:
        super().__init__()
        self.call = call
        self.weight, self.bias = nn.Parameter(torch.randn(8, 4)), nn.Parameter(torch.randn(4))

    def forward(self, x: Tensor) -> Tensor:
        return self.call(x, self.weight, self.bias)


def totals(model: nn.Module, x: Tensor) -> tuple[int, int]:
    """Parameters and multiply-accumulates of a sample."""
    costs = node_costs(MaseGraph(model), x).values()
    parameters = sum(tensor.elements for cost in costs for tensor in cost.tensors if tensor.is_parameter)
    return parameters, sum(cost.macs for cost in costs)


@pytest.mark.parametrize(
    "call",
    [
        lambda x, w, b: x @ w + b,
        lambda x, w, b: torch.matmul(x, w).add(b),
        lambda x, w, b: F.linear(x, w.t(), b),
        lambda x, w, b: torch.einsum("bi,ij->bj", x, w) - b,
        lambda x, w, b: torch.addmm(b, x, w),
        lambda x, w, b: torch.mm(x, w.relu()) * b,
    ],
)
def test_parameters_and_products_count_whatever_they_are_spelled_like(call: Callable[..., Tensor]) -> None:
    assert totals(Own(call), torch.randn(4, 8)) == (36, 32)


def test_layers_without_formats_count_in_float() -> None:
    model = Recurrent()
    parameters = sum(parameter.numel() for parameter in model.parameters())
    assert totals(model, torch.randn(4, 5, 8)) == (parameters, 5 * 4 * (8 * 16 + 16 * 16) + 16 * 16 + 32)
    rectified = nn.Sequential(nn.Linear(8, 4), nn.PReLU(4), nn.Flatten())
    assert totals(rectified, torch.randn(4, 8)) == (36 + 4, 32)


def test_attention_counts_as_it_does_without_its_fast_path() -> None:
    class Attending(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.MultiheadAttention(8, 2, batch_first=True)

        def forward(self, x: Tensor) -> Tensor:
            found: Tensor = self.layer(x, x, x)[0]
            return found

    assert torch.backends.mha.get_fastpath_enabled()
    parameters, macs = totals(Attending().eval(), torch.randn(3, 5, 8))
    assert parameters == sum(parameter.numel() for parameter in Attending().parameters())
    assert macs == 5 * 8 * 32 + 2 * 5 * 5 * 8
    assert torch.backends.mha.get_fastpath_enabled()


SPELLINGS: dict[str, Callable[[Tensor], Any]] = {
    "torch.max_pool2d": lambda x: torch.max_pool2d(x, 2),
    "torch.max_pool1d": lambda x: torch.max_pool1d(x[:, 0], 2),
    "torch.layer_norm": lambda x: torch.layer_norm(x, [8]),
    "torch.group_norm": lambda x: torch.group_norm(x, 1),
    "torch.rms_norm": lambda x: torch.rms_norm(x, [8]),
    "torch.instance_norm": lambda x: torch.instance_norm(x, None, None, None, None, True, 0.1, 1e-5, False),
    "torch.batch_norm": lambda x: torch.batch_norm(x, None, None, None, None, True, 0.1, 1e-5, False),
    "torch.mm": lambda x: torch.mm(x[0, 0], x[0, 0]),
    "x.mm": lambda x: x[0, 0].mm(x[0, 0]),
    "torch.multiply": lambda x: torch.multiply(x, x),
    "x.subtract": lambda x: x.subtract(2 * x),
}


@pytest.mark.parametrize("name", SPELLINGS.keys())
def test_all_spellings_of_an_op_have_formats(name: str) -> None:
    class Model(nn.Module):
        def forward(self, x: Tensor) -> Any:
            return SPELLINGS[name](x)

    torch.manual_seed(0)
    x = torch.randn(2, 1, 8, 8)
    widths = {"data_in_width": 3, "data_in_frac_width": 1, "weight_width": 3, "weight_frac_width": 1}
    graph, _ = quantize_transform_pass(
        MaseGraph(Model()), {"by": "type", "default": {"config": {"name": "integer", **widths}}}
    )
    assert not torch.equal(graph.model(x), Model()(x))
