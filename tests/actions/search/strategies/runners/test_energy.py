"""Modelled energy: published figures, values by hand for each kind of number, and that the float network has one."""

from __future__ import annotations

from itertools import pairwise
from math import log2
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from chop.actions.search.strategies.runners.energy import Energy, EnergyOptions
from chop.formats import Integer, Log
from chop.ir import MaseGraph, QuantPlan
from chop.ir.graph.node_costs import node_costs
from chop.passes.graph import quantize_transform_pass
from chop.passes.graph.analysis.energy import (
    FLOAT_ADD,
    FLOAT_MULTIPLY,
    INTEGER_ADD,
    INTEGER_MULTIPLY,
    SHIFT,
    interpolated,
)

INPUTS, OUTPUTS = 64, 32
PRODUCTS = INPUTS * OUTPUTS


class Layer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(INPUTS, OUTPUTS)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = torch.relu(self.fc(x))
        return found


def energy(config: dict[str, Any] | None, options: EnergyOptions | None = None) -> dict[str, float]:
    graph, plan = MaseGraph(Layer()), QuantPlan()
    if config:
        graph, found = quantize_transform_pass(graph, {"by": "type", "linear": {"config": config}})
        plan = found["plan"]
    return Energy(None, options).total(node_costs(graph, torch.randn(2, INPUTS)), plan)


def integer(width: int, weight_width: int | None = None, **more: Any) -> dict[str, Any]:
    widths = {"data_in_width": width, "weight_width": weight_width or width, "bias_width": width}
    return {"name": "integer", **widths, **more}


def each(name: str, **keys: Any) -> dict[str, Any]:
    return {
        "name": name,
        **{f"{own}_{key}": value for own in ("data_in", "weight", "bias") for key, value in keys.items()},
    }


@pytest.mark.parametrize(
    ("points", "published"),
    [
        (INTEGER_ADD, {8: 0.03, 32: 0.1}),
        (INTEGER_MULTIPLY, {64: 0.2, 1024: 3.1}),
        (FLOAT_ADD, {16: 0.4, 32: 0.9}),
        (FLOAT_MULTIPLY, {256: 1.1, 1024: 3.7}),
        (SHIFT, {8: 0.024, 16: 0.057, 32: 0.13}),
    ],
)
def test_published_figures_are_met_and_other_widths_lie_between(
    points: dict[int, float], published: dict[int, float]
) -> None:
    assert {at: interpolated(points, at) for at in published} == pytest.approx(published)
    curve = [interpolated(points, at) for at in range(0, 1100, 3)]
    assert curve[0] == 0.0 and all(low < high for low, high in pairwise(curve))


@pytest.mark.parametrize(
    ("config", "multiplication", "addition"),
    [
        (None, 3.7, 0.9),
        (integer(8), 0.2, 0.03 + (8 + 8 + 6 - 8) / 24 * 0.07),  # 64 products: 6 bits more
        (integer(4), 0.2 * 16 / 64, 0.03 + (4 + 4 + 6 - 8) / 24 * 0.07),
        (integer(8, 16), 0.2 + (128 - 64) / 960 * 2.9, 0.03 + (8 + 16 + 6 - 8) / 24 * 0.07),
        (each("binary", width=1), 0.2 / 64, 0.03),  # 1 + 1 + 6 bits
        (each("minifloat_ieee", width=16, exponent_width=5), 1.1, 0.4),
        (each("minifloat_ieee", width=8, exponent_width=4), 1.1 * 64 / 256, 0.4),
        (each("log", width=4), 0.03 * 4 / 8, 0.03 + (7 + 7 + 6 - 8) / 24 * 0.07),  # exponents of 8 values: 7 places
        ({"name": "integer", "data_in_width": 8, "bias_width": 8}, 1.1, 0.9),  # 8 x 32 bits of floating point
        (each("mxint", element_bits=8, block_size=[16]), 0.2, 0.03 + (8 + 8 + 6 - 8) / 24 * 0.07 + 0.9 / 16),
    ],
    ids=["FP32", "int8", "int4", "int8 x int16", "binary", "FP16", "E4M3", "log", "weights in float", "mxint8"],
)
def test_arithmetic_by_hand(config: dict[str, Any] | None, multiplication: float, addition: float) -> None:
    assert log2(INPUTS) == 6
    assert energy(config)["energy_compute"] == pytest.approx(PRODUCTS * (multiplication + addition))


def test_a_power_of_two_shifts_a_whole_number_and_is_added_to_the_exponent_of_a_float() -> None:
    costs = node_costs(MaseGraph(Layer()), torch.randn(2, INPUTS))
    shifting = QuantPlan.of({"fc": {"data_in": Integer(8), "weight": Log(4)}})
    floating = QuantPlan.of({"fc": {"weight": Log(4)}})
    shifted, added = (Energy(None).total(costs, plan)["energy_compute"] / PRODUCTS for plan in (shifting, floating))
    assert shifted == pytest.approx(0.024 + 0.03 + (8 + 7 + 6 - 8) / 24 * 0.07)
    assert added == pytest.approx(0.03 * 4 / 8 + 0.9)


def test_memory_by_hand() -> None:
    """Each weight is read once; what it is multiplied with is written once and read once; ReLU has no memory."""
    weights, inputs = (PRODUCTS + OUTPUTS) * 8, 2 * INPUTS * 8
    found = energy(integer(8))
    assert found["energy_memory"] == pytest.approx((weights + inputs) * 20 / 64)
    assert found["energy"] == found["energy_memory"] + found["energy_compute"]
    dram = energy(integer(8), EnergyOptions("dram", "sram_8k"))
    assert dram["energy_memory"] == pytest.approx(weights * 1300 / 64 + inputs * 10 / 64)
    assert energy(integer(8), EnergyOptions("none", "none"))["energy_memory"] == 0
    assert energy(None)["energy_memory"] == pytest.approx(4 * found["energy_memory"])


def test_pruned_weights_are_neither_multiplied_nor_read() -> None:
    pruned, dense = energy(integer(8, weight_sparsity=0.5)), energy(integer(8))
    assert pruned["energy_compute"] == pytest.approx(dense["energy_compute"] / 2)
    saved = PRODUCTS // 2 * 8 - PRODUCTS  # the index takes one bit for each weight
    assert pruned["energy_memory"] == pytest.approx(dense["energy_memory"] - saved * 20 / 64)
