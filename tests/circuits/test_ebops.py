"""EBOPs: by hand on a small layer, and for a whole space what each network gives on its own."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from chop.circuits import integer_network
from chop.circuits.ebops import STAGE_BITS, ebops_of, stage_bits
from chop.circuits.liveness import live_elements
from chop.circuits.network_costs import network_costs
from chop.circuits.plan_costs import PlanCosts
from chop.circuits.steps import steps_of
from chop.errors import CircuitError
from chop.formats.integer import Integer
from chop.ir import MaseGraph, QuantPlan
from tests.circuits.networks import quantised

FORMATS = {"data_in": Integer(4, 2), "weight": Integer(4, 2), "bias": Integer(4, 2)}


def drawn(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1)) * 2


def ebops(graph: MaseGraph, x: Tensor) -> dict[str, float]:
    sums = network_costs(integer_network(graph, x), stage_bits, STAGE_BITS)
    return {name: float(value) for name, value in ebops_of(sums).items()}


def test_a_layer_by_hand() -> None:
    """Inputs of 4 bits, then of what ReLU and rounding leave."""
    model = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1))
    first, last = model[0], model[2]
    with torch.no_grad():
        first.weight.copy_(torch.tensor([[1.25, -0.5], [0.0, 0.75], [0.0, 0.0]]))
        first.bias.copy_(torch.tensor([0.0, 0.5, 1.0]))
        last.weight.copy_(torch.tensor([[1.75, 0.5, 0.25]]))
        last.bias.copy_(torch.tensor([0.5]))
    found = ebops(quantised(model, {"_0": FORMATS, "_2": FORMATS}, drawn(2, 2)), drawn(2, 2))
    before = 4 * (3 + 1) + 4 * 2 + 1  # 1.25 is 101, -0.5 is 1, 0.75 is 11; the bias 0.5 is 1 bit
    # The third neuron is 1 and goes into the bias, 0.5 + 0.25 = 0.75. Behind ReLU the others span 0 to 1.75: 3 bits.
    assert found["ebops"] == before + 3 * 3 + 3 * 1 + 2
    assert found["ebops_nominal"] == before + 4 * (3 + 1 + 1) + 1


def test_what_no_path_uses_counts_nothing() -> None:
    torch.manual_seed(1)
    model = nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 5), nn.ReLU(), nn.Linear(5, 2))
    with torch.no_grad():
        model[4].weight[:, 0], model[4].weight[:, 1:] = 1, 0
        model[2].weight[0, 0], model[2].weight[0, 1:] = 1, 0
    x = drawn(2, 4)
    graph = quantised(model, {"_0": FORMATS, "_2": FORMATS, "_4": FORMATS}, x)
    live = live_elements(integer_network(graph, x))
    assert live["_2"].tolist() == live["_0"].tolist() == [True, False, False, False, False]
    small = nn.Sequential(nn.Linear(4, 1), nn.ReLU(), nn.Linear(1, 1), nn.ReLU(), nn.Linear(1, 2))
    with torch.no_grad():
        for place, (rows, columns) in {0: (1, 4), 2: (1, 1), 4: (2, 1)}.items():
            small[place].weight.copy_(model[place].weight[:rows, :columns])
            small[place].bias.copy_(model[place].bias[:rows])
    twin = quantised(small, {"_0": FORMATS, "_2": FORMATS, "_4": FORMATS}, x)
    assert ebops(graph, x)["ebops"] == ebops(twin, x)["ebops"] > 0


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv1d(1, 3, 3, padding=1), nn.Conv1d(3, 3, 1)
        self.last = nn.Linear(6, 2)

    def forward(self, x: Tensor) -> Tensor:
        hidden = F.relu(self.first(x))
        hidden = F.max_pool1d(self.second(hidden) + hidden, 2)
        return self.last(hidden.flatten(1))


def choices(node: str, **more: Any) -> list[dict[str, dict[str, Any]]]:
    made = [dict(zip(("data_in", "weight"), map(Integer, own), strict=True)) for own in product((2, 4), (2, 3))]
    return [{node: {**own, "bias": Integer(4, 2), **more}} for own in made]


AXES = [choices("first"), choices("second"), [*choices("last"), *choices("last", data_out=Integer(5, 2))]]


def test_a_space_has_what_each_network_has() -> None:
    torch.manual_seed(2)
    x = drawn(2, 1, 4)
    model = Residual()
    with torch.no_grad():
        model.first.weight[0] = 0
        model.last.weight[:, 4:] = 0
    graph = MaseGraph(model)
    table = PlanCosts(steps_of(graph, x, AXES), stage_bits, STAGE_BITS)
    codes = np.array(list(product(*(range(len(axis)) for axis in AXES))))
    found = table.sums(codes)
    assert np.array_equal(table.sums(codes[::-1]), found[::-1])
    for row in range(0, len(codes), 7):
        plan = {node: own for axis, code in zip(AXES, codes[row], strict=True) for node, own in axis[code].items()}
        graph.apply_plan(QuantPlan.of(plan))
        assert np.array_equal(found[row], network_costs(integer_network(graph, x), stage_bits, STAGE_BITS))


def test_alternatives_without_a_circuit_are_nan_and_no_circuit_at_all_is_an_error() -> None:
    torch.manual_seed(3)
    x = drawn(2, 4)
    graph = MaseGraph(nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2)))
    axes: list[Any] = [[{"_0": {}}, {"_0": FORMATS}], [{"_2": FORMATS}, {"_2": {"weight": Integer(4)}}]]
    codes = np.array(list(product(range(2), range(2))))
    found = PlanCosts(steps_of(graph, x, axes), stage_bits, STAGE_BITS).sums(codes)
    assert np.isnan(found).all(axis=1).tolist() == [True, True, False, True]
    with pytest.raises(CircuitError, match="_2: its bias is in float"):
        steps_of(graph, x, [axes[0], axes[1][1:]])
