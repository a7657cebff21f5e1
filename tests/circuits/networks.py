"""Networks and data that the tests of circuits share."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from chop.actions.calibration import calibrate
from chop.dataset.data_module import MaseDataModule
from chop.formats import Format
from chop.formats.integer import Integer
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
