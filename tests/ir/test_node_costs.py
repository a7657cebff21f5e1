"""Costs of nodes that no row of the op table describes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from chop.errors import GraphError
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


@pytest.mark.parametrize(
    "call",
    [
        lambda x, w, b: x @ (w @ w.t())[:, :4] + b,  # read by the product of parameters alone
        lambda x, w, b: x[:, :4] * b + w[0],
        lambda x, w, b: x + (w * b).sum(1),
        lambda x, w, b: (x.type_as(w) + w.new_ones(8)).sum() + b.expand(5, 4),
        lambda x, w, b: torch.softmax(x @ w, -1) @ torch.diag(b),
        lambda x, w, b: x,
    ],
)
def test_every_parameter_counts_once(call: Callable[..., Tensor]) -> None:
    expected = 36 + (32 if "w @ w" in _source(call) else 0)  # two operands of one product, each with its own format
    assert totals(Own(call), torch.randn(4, 8))[0] == expected


def _source(call: Callable[..., Tensor]) -> str:
    """What tells the first of the calls: its names."""
    return "w @ w" if call.__code__.co_names[:1] == ("t",) else ""


def test_a_layer_in_float_that_is_called_again_counts_its_parameters_once() -> None:
    class Unrolled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.cell, self.head = nn.LSTMCell(8, 8), nn.Linear(8, 2)

        def forward(self, x: Tensor) -> Tensor:
            h = x[:, 0], x[:, 1]
            for step in range(5):
                h = self.cell(x[:, step], h)
            return self.head(h[0])

    assert totals(Unrolled(), torch.randn(4, 5, 8)) == (594, 5 * 2 * 8 * 32 + 16)


def test_what_multiplies_the_rows_of_a_batch_counts_as_far_as_it_grows() -> None:
    class Mixing(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(8, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.layer(x) + torch.einsum("bi,bj->ij", x[1:], x[1:]).sum()

    assert totals(Mixing(), torch.randn(4, 8))[0] == 18


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
    encoder = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True).eval()
    products = 5 * 8 * 32 + 2 * 5 * 5 * 8 + 2 * 5 * 8 * 16
    assert totals(nn.Sequential(encoder), torch.randn(3, 5, 8)) == (
        sum(p.numel() for p in encoder.parameters()),
        products,
    )


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


PLACES: dict[str, tuple[Any, Any]] = {
    "batch_norm": (
        lambda x, w, b: torch.batch_norm(x, w, b, None, None, True, 0.1, 1e-5, False),
        lambda x, w, b: F.batch_norm(x, None, None, w, b, True),
    ),
    "instance_norm": (
        lambda x, w, b: torch.instance_norm(x, w, b, None, None, True, 0.1, 1e-5, False),
        lambda x, w, b: F.instance_norm(x, None, None, w, b),
    ),
    "embedding": (
        lambda x, w, b: torch.embedding(w[:, None], x[:, 0, 0].long().abs() % 4),
        lambda x, w, b: F.embedding(x[:, 0, 0].long().abs() % 4, w[:, None]),
    ),
    "group_norm": (lambda x, w, b: torch.group_norm(x, 2, w, b), lambda x, w, b: F.group_norm(x, 2, w, b)),
}


@pytest.mark.parametrize(("ours", "usual"), PLACES.values(), ids=PLACES.keys())
def test_spellings_that_take_their_parameters_elsewhere_round_the_same(ours: Any, usual: Any) -> None:
    class Model(nn.Module):
        def __init__(self, call: Any) -> None:
            super().__init__()
            self.call = call
            self.weight, self.bias = (
                nn.Parameter(torch.tensor([0.3, 0.7, 1.1, 1.6])),
                nn.Parameter(torch.tensor([0.1, 0.4, 0.9, 1.2])),
            )

        def forward(self, x: Tensor) -> Any:
            return self.call(x, self.weight, self.bias)

    torch.manual_seed(0)
    x = 2 * torch.randn(4, 4, 3)
    widths = {"data_in_width": 8, "data_in_frac_width": 4, "weight_width": 3, "weight_frac_width": 1}
    widths |= {"bias_width": 4, "bias_frac_width": 1}
    config = {"by": "type", "default": {"config": {"name": "integer", **widths}}}
    one, other = (quantize_transform_pass(MaseGraph(Model(call)), config)[0].model(x) for call in (ours, usual))
    assert torch.equal(one, other)
    assert not torch.equal(one, Model(ours)(x))


@pytest.mark.parametrize("change", [torch.relu_, lambda h: F.relu(h, inplace=True), lambda h: h.relu_()])
def test_a_change_in_place_whose_result_nobody_takes_stays(change: Callable[[Tensor], Tensor]) -> None:
    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.first, self.last = nn.Linear(8, 8), nn.Linear(8, 2)

        def forward(self, x: Tensor) -> Tensor:
            h = self.first(x)
            change(h)
            found: Tensor = self.last(h)
            return found

    x = torch.randn(16, 8)
    widths = {"data_in_width": 16, "data_in_frac_width": 10, "weight_width": 16, "weight_frac_width": 12}
    config = {"by": "type", "default": {"config": {"name": "integer", **widths}}}
    graph, _ = quantize_transform_pass(MaseGraph(Model()), config)
    assert torch.allclose(graph.model(x), Model()(x), atol=0.01)


@pytest.mark.parametrize("x", [torch.zeros(4, 8, dtype=torch.uint8), torch.zeros(4, 7), torch.zeros(4, 8).half()])
def test_inputs_that_the_model_does_not_take_are_not_a_matter_of_the_batch_size(x: Tensor) -> None:
    with pytest.raises(
        GraphError, match=r"does not run on the data \(RuntimeError: .*\): give it inputs of the shapes"
    ):
        node_costs(MaseGraph(nn.Linear(8, 3)), x)
