"""EBOPs of layers with known numbers are those that HGQ2 itself counts (scripts/hgq2_ebops.py wrote them)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from chop.circuits import integer_network
from chop.circuits.ebops import STAGE_BITS, ebops_of, stage_bits
from chop.circuits.network_costs import network_costs
from chop.formats.integer import Integer
from tests.circuits.networks import quantised

REFERENCE = json.loads((Path(__file__).parent / "hgq2_ebops.json").read_text(encoding="utf-8"))
STEP = 2.0 ** -REFERENCE["weight_frac"]
INPUT, WIDER = Integer(6, 3), Integer(8, 4)
"""HGQ2's quantisers with a sign, 2 and 3 bits, and with a sign, 3 and 4 bits."""

WEIGHT = Integer(6, REFERENCE["weight_frac"])


class Merged(nn.Module):
    """Two inputs, rounded by layers that multiply each with 1, and put together."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind

    def forward(self, x: Tensor) -> Tensor:
        first, second = F.relu(x[:, :6]), F.relu(x[:, 6:])
        return first + second if self.kind == "add" else first - second


def ebops(model: nn.Module, formats: dict[str, Any], *shape: int) -> dict[str, float]:
    x = torch.zeros(2, *shape)
    sums = network_costs(integer_network(quantised(model, formats, x), x), stage_bits, STAGE_BITS)
    return {name: float(value) for name, value in ebops_of(sums).items()}


def channels_first(case: dict[str, Any]) -> tuple[int, ...]:
    *places, channels = case["shape"]
    return (channels, *places)


def layer_of(case: dict[str, Any]) -> nn.Module:
    """The layer of a case, with its weights."""
    weight = np.array(case["weight"]) * STEP
    outputs, inputs = weight.shape[-1], weight.shape[-2]
    settings = {"kernel_size": 3, "stride": case.get("strides", 1), "padding": case.get("padding", "valid")}
    makers = {"dense": nn.Linear, "conv1d": nn.Conv1d, "conv2d": nn.Conv2d}
    more = {} if case["kind"] == "dense" else settings
    layer: nn.Module = makers[case["kind"]](inputs, outputs, bias="bias" in case, **more)
    with torch.no_grad():
        layer.get_parameter("weight").copy_(torch.from_numpy(np.moveaxis(weight, (-1, -2), (0, 1))))
        if "bias" in case:
            layer.get_parameter("bias").copy_(torch.tensor(case["bias"]) * STEP)
    return layer


@pytest.mark.parametrize(
    "case", [own for own in REFERENCE["cases"] if "weight" in own and own["signed"]], ids=lambda own: own["kind"]
)
def test_layers(case: dict[str, Any]) -> None:
    formats = {"data_in": INPUT, "weight": WEIGHT} | ({"bias": WEIGHT} if "bias" in case else {})
    found = ebops(nn.Sequential(layer_of(case)), {"_0": formats}, *channels_first(case))
    assert found == {"ebops": case["ebops"], "ebops_nominal": case["ebops"]}


def test_a_layer_behind_a_relu_reads_values_without_a_sign() -> None:
    """HGQ2 has a quantiser without a sign there; the exact range says the same."""
    (case,) = (own for own in REFERENCE["cases"] if own.get("signed") is False)
    model = nn.Sequential(nn.ReLU(), layer_of(case))
    unsigned = {"data_in": Integer(8, 3, is_signed=False)}  # as wide as what the layer clips it to, and wider
    found = ebops(model, {"_0": unsigned, "_1": {"data_in": INPUT, "weight": WEIGHT, "bias": WEIGHT}}, *case["shape"])
    assert found["ebops"] == case["ebops"] < found["ebops_nominal"]


@pytest.mark.parametrize("kind", ["add", "subtract"])
def test_sums_and_differences(kind: str) -> None:
    (case,) = (own for own in REFERENCE["cases"] if own["kind"] == kind)
    narrow, wide = Integer(6, 3, is_signed=False), Integer(8, 4, is_signed=False)
    found = ebops(Merged(kind), {"relu": {"data_in": narrow}, "relu_1": {"data_in": wide}}, 12)
    assert found["ebops"] == pytest.approx(case["ebops"])


def test_a_maximum() -> None:
    (case,) = (own for own in REFERENCE["cases"] if own["kind"] == "max_pool2d")
    found = ebops(nn.Sequential(nn.MaxPool2d(2)), {"_0": {"data_in": INPUT}}, *channels_first(case))
    assert found == {"ebops": case["ebops"], "ebops_nominal": case["ebops"]}
