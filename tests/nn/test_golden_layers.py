"""Quantised layers against vectors that an independent implementation computed."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from chop.formats import IntegerFloor
from chop.nn import OPS, Quantized
from chop.nn.node_config import node_formats
from tests.conftest import golden_arrays, golden_cases

MODULES = {"linear": nn.Linear, "conv1d": nn.Conv1d, "conv2d": nn.Conv2d, "relu_module": nn.ReLU}
FUNCTIONS = {
    "add": torch.add,
    "sub": torch.sub,
    "mul": torch.mul,
    "matmul": torch.matmul,
    "bmm": torch.bmm,
    "relu": F.relu,
}


def build_inner(case: dict[str, Any], arrays: dict[str, torch.Tensor]) -> Any:
    if case["layer"] in FUNCTIONS:
        return FUNCTIONS[case["layer"]]
    module = MODULES[case["layer"]](**case["ctor"])
    for name in ("weight", "bias"):
        if case["inputs"].get(name):
            getattr(module, name).data = arrays[case["inputs"][name]]
    return module


def vector_config(case: dict[str, Any]) -> dict[str, Any]:
    """The keys that the vector was computed with (docs/decisions/0002): functions ignored `floor` and `data_out_*`."""
    ignored = ("floor", "data_out_width", "data_out_frac_width") if case["layer"] in FUNCTIONS else ()
    return {
        "name": case["arith"],
        **{key: value for key, value in case["config"].items() if key not in ignored},
    }


@pytest.mark.parametrize("case", golden_cases("layer_cases"), ids=lambda case: f"{case['layer']}-{case['output']}")
def test_layer_equals_the_golden_vector(case: dict[str, Any]) -> None:
    arrays = golden_arrays(case["file"])
    op = next(op for op in OPS if op.name == case["layer"].removesuffix("_module"))
    formats = node_formats(vector_config(case), op)
    layer = Quantized(build_inner(case, arrays), op, formats)
    inputs = [arrays[case["inputs"][name]] for name in ("x", "y") if case["inputs"].get(name)]
    torch.testing.assert_close(layer(*inputs), arrays[case["output"]], rtol=1e-5, atol=1e-6)


def test_floor_and_data_out_hold_for_functions_too() -> None:
    op = next(op for op in OPS if op.name == "mul")
    config = {
        "name": "fixed",
        "data_in_width": 8,
        "data_out_width": 6,
        "data_out_frac_width": 2,
        "floor": True,
    }
    x, y = torch.randn(50) * 4, torch.randn(50) * 4
    rounded_in, rounded_out = IntegerFloor(8, 4), IntegerFloor(6, 2)
    expected = rounded_out.quantize(rounded_in.quantize(x) * rounded_in.quantize(y))
    assert torch.equal(Quantized(torch.mul, op, node_formats(config, op))(x, y), expected)
