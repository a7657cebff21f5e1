"""Networks and data that the tests of circuits share."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from chop.actions.calibration import calibrate
from chop.dataset.data_module import MaseDataModule
from chop.formats import Format
from chop.formats.integer import Integer
from chop.formats.measured_tensor import MeasuredTensor
from chop.ir import MaseGraph, QuantPlan
from chop.models import get_model
from chop.passes.graph import absorb_batch_norm_transform_pass, fold_batch_norm_transform_pass

WIDTHS = {
    "jsc-tiny": ("jsc-sim", [(8, 6, 6), (6, 5, 7)]),
    "jsc-toy": ("jsc-sim", [(8, 6, 6), (6, 5, 7), (7, 4, 5), (5, 6, 8)]),
    "jsc-mlp": ("jsc-sim", [(8, 6, 6), (6, 5, 7), (7, 4, 5), (5, 6, 8)]),
    "shapes-cnn": ("shapes", [(6, 5, 6), (5, 4, 7), (6, 4, 5), (5, 6, 8)]),
    "toy": ("toy_tiny", [(6, 5, 6), (5, 4, 7), (5, 6, 8)]),
}
"""The data of each bundled network, and the widths of (data_in, weight, bias) of its layers in their order."""


def data_of(name: str) -> MaseDataModule:
    """A data set, ready."""
    data = MaseDataModule(name, 512)
    data.prepare_data()
    data.setup()
    return data


def bundled(
    name: str, made: Callable[[int], Format] = lambda width: Integer(width, "auto")
) -> tuple[MaseGraph, MaseDataModule]:
    """A bundled network with other widths in each layer; its norms folded, or made products and sums."""
    dataset, widths = WIDTHS[name]
    data = data_of(dataset)
    graph = MaseGraph(get_model(name, dataset_info=data.dataset_info, pretrained=True))
    fold_batch_norm_transform_pass(graph, {"show": False})
    absorb_batch_norm_transform_pass(graph, {"show": False})
    calibrate(graph, data)
    layers = [own for own, op in graph.quantizable_nodes().items() if op.multiplies or op.name == "batch_norm1d"]
    pairs = zip(layers, widths, strict=True)
    graph.apply_plan(QuantPlan.of({node: _formats(own, made) for node, own in pairs}))
    return graph, data


def _formats(widths: Sequence[int], made: Callable[[int], Format]) -> dict[str, Format]:
    activation, weight, bias = widths
    return {"data_in": made(activation), "weight": Integer(weight, "auto"), "bias": Integer(bias, "auto")}


def quantised(model: nn.Module, formats: dict[str, dict[str, Format]], example: Tensor) -> MaseGraph:
    """A graph of a small model with formats by node."""
    graph = MaseGraph(model, example_inputs=example)
    graph.apply_plan(QuantPlan.of(formats))
    return graph


@torch.no_grad()
def outputs(graph: MaseGraph, x: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """What the quantised network returns, in float64; computed in `dtype`, which must hold its sums."""
    found: Tensor = copy.deepcopy(graph).model.to(dtype)(x.to(dtype)).double()
    return found


LAYER = {"data_in": Integer(6, 3), "weight": Integer(5, 4), "bias": Integer(7, 4)}


def learned(fractions: list[int], widths: list[int], **keys: Any) -> Integer:
    """A format as a training of widths leaves it: by value."""
    tensors = [MeasuredTensor(torch.tensor(own, dtype=torch.int8)) for own in (fractions, widths)]
    return Integer(8, tensors[0], element_width=tensors[1], **keys)


def drawn(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1)) * 2


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv1d(2, 4, 3, padding=1), nn.Conv1d(4, 4, 3, 1, 2, dilation=2, groups=2)
        self.last = nn.Linear(17, 3)

    def forward(self, x: Tensor) -> Tensor:
        hidden = F.relu(self.first(x))
        hidden = F.relu6(self.second(hidden) - hidden)
        hidden = F.max_pool1d(hidden, 3, 2, 1)
        return self.last(torch.cat([hidden.permute(0, 2, 1).flatten(1), hidden[:, :1, 0]], 1))


class Images(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, 3, 3, stride=2, padding="valid")
        self.second = nn.Conv2d(3, 4, 3, padding="same", bias=False)

    def forward(self, x: Tensor) -> Tensor:
        hidden = F.avg_pool2d(F.hardtanh(self.first(x)), 2)
        hidden = torch.clamp(self.second(hidden), -0.75, 1.5)
        return F.adaptive_avg_pool2d(hidden, 1).view(x.size(0), -1)


class Tokens(nn.Module):
    """A linear layer on the last of several dimensions."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(3, 4), nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.second(self.first(x).relu())


OWN: dict[str, tuple[type[nn.Module], Tensor, dict[str, dict[str, Format]]]] = {
    "residual": (Residual, drawn(50, 2, 8), {"first": LAYER, "second": LAYER, "last": LAYER}),
    "images": (Images, drawn(50, 1, 9, 9), {"first": LAYER, "second": {k: v for k, v in LAYER.items() if k != "bias"}}),
    "tokens": (Tokens, drawn(50, 5, 3), {"first": LAYER, "second": LAYER}),
}


def one_layer(**formats: Any) -> tuple[MaseGraph, Tensor]:
    torch.manual_seed(3)
    x = drawn(200, 6)
    return quantised(
        nn.Sequential(nn.Linear(6, 4), nn.ReLU(), nn.Linear(4, 3)), {"_0": LAYER, "_2": {**LAYER, **formats}}, x
    ), x
