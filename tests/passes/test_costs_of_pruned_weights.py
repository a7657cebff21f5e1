"""Costs of pruned weights: sizes count what is kept and its index, operations skip zeros, and both are stated dense."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from chop.actions.search.strategies.runners.hardware import BitOps, Flops, ModelSize
from chop.ir import MaseGraph
from chop.ir.graph.node_costs import node_costs
from chop.passes.graph import (
    add_common_metadata_analysis_pass,
    count_costs_analysis_pass,
    init_metadata_analysis_pass,
    quantize_transform_pass,
)

WIDTHS = {"name": "integer", "data_in_width": 8, "weight_width": 4, "bias_width": 8}


class Net(nn.Module):
    """A convolution and a layer."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.fc = nn.Conv2d(8, 4, 3, padding=1), nn.Linear(64, 8)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.fc(self.conv(x).flatten(1))
        return found


def info_of(**keys: Any) -> dict[str, Any]:
    graph, _ = quantize_transform_pass(MaseGraph(Net()), {"by": "type", "default": {"config": {**WIDTHS, **keys}}})
    _, info = count_costs_analysis_pass(graph, {"dummy_in": {"x": torch.randn(2, 8, 4, 4)}, "show": False})
    return info


@pytest.mark.parametrize(
    ("keys", "share", "index"),
    [
        ({"weight_sparsity": 0.75}, 0.25, 512),
        ({"weight_sparsity": 0.5, "weight_sparsity_pattern": "channel"}, 0.5, 8),
        ({"weight_sparsity_pattern": "2:4"}, 0.5, 512),
        ({"weight_sparsity_pattern": "1:4"}, 0.25, 256),
        ({}, 1.0, 0),
        ({"weight_sparsity": 0.0, "weight_sparsity_pattern": "2:4"}, 1.0, 0),
    ],
)
def test_sizes_and_operations_of_what_is_kept_and_of_all(keys: dict[str, Any], share: float, index: int) -> None:
    row, dense = info_of(**keys)["fc"], info_of()["fc"]
    assert dense["parameter_bytes"] == (512 * 4 + 8 * 8) / 8
    assert row["parameter_bytes"] == (512 * share * 4 + index + 8 * 8) / 8
    assert row["dense_parameter_bytes"] == dense["parameter_bytes"]
    assert row["macs"] == dense["macs"] == 512
    assert row["flops"] == 2 * 512 * share
    assert row["bitops"] == 512 * share * 8 * 4
    assert row["dense_flops"] == dense["flops"] and row["dense_bitops"] == dense["bitops"]


def test_every_weight_of_a_convolution_has_the_same_part_in_its_operations() -> None:
    pruned, dense = info_of(weight_sparsity=0.5)["conv"], info_of()["conv"]
    assert pruned["flops"] == dense["flops"] / 2
    assert info_of(weight_sparsity=0.5)["total"]["dense_flops"] == info_of()["total"]["flops"]


def test_runners_state_both() -> None:
    config = {**WIDTHS, "weight_sparsity": 0.5}
    graph, found = quantize_transform_pass(MaseGraph(Net()), {"by": "type", "default": {"config": config}})
    costs = node_costs(graph, torch.randn(2, 8, 4, 4))
    size, flops, bitops = (runner(None).total(costs, found["plan"]) for runner in (ModelSize, Flops, BitOps))
    assert size == {"model_size": (400 * 4 + 800 + 12 * 8) / 8, "dense_model_size": (800 * 4 + 12 * 8) / 8}
    assert flops["flops"] * 2 == flops["dense_flops"]
    assert bitops["bitops"] * 2 == bitops["dense_bitops"]


def test_metadata_name_the_format_and_the_transforms() -> None:
    config = {**WIDTHS, "weight_sparsity": 0.5}
    graph, _ = quantize_transform_pass(MaseGraph(Net()), {"by": "type", "linear": {"config": config}})
    graph, _ = init_metadata_analysis_pass(graph)
    graph, _ = add_common_metadata_analysis_pass(graph, {"dummy_in": {"x": torch.randn(2, 8, 4, 4)}})
    arguments = graph.node("fc").meta["mase"]["common"]["args"]
    assert arguments["weight"]["type"] == "integer" and arguments["weight"]["precision"] == [4, 2]
    assert arguments["weight"]["transforms"] == ["50% sparse"]
    assert "transforms" not in arguments["bias"]


def test_pruned_float_weights_have_32_bits_each() -> None:
    graph, _ = quantize_transform_pass(
        MaseGraph(Net()), {"by": "type", "linear": {"config": {"name": "NA", "weight_sparsity": 0.5}}}
    )
    _, info = count_costs_analysis_pass(graph, {"dummy_in": {"x": torch.randn(2, 8, 4, 4)}})
    assert info["fc"]["parameter_bytes"] == (256 * 32 + 512 + 8 * 32) / 8
