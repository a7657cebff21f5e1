"""Learned widths of every granularity are exported by every tool, or refused with the reason."""

from __future__ import annotations

import math
from itertools import product
from pathlib import Path
from typing import Any, get_args

import pytest
import torch
from torch import nn

from chop.errors import ExportError
from chop.exporters import ExportNetwork, export
from chop.formats import Integer
from chop.formats.measured_tensor import MeasuredTensor
from chop.training.learned_widths import LearnedGranularity
from chop.training.width_layers import granular_input
from tests.circuits.networks import drawn, quantised
from tests.exporters.networks import of_graph

UNVERIFIED: dict[str, dict[str, Any]] = {"hls4ml": {"verify": False}, "verilog": {"simulates": False}}
"""Options without which compilers would run."""

GRANULARITIES = get_args(LearnedGranularity)


def learned(shape: tuple[int, ...], granularity: str) -> Integer:
    """A format with widths from 0 to 6 bits, in the shape that a training of this granularity leaves."""
    widths = torch.arange(math.prod(shape))
    widths = (widths * 5 % 7 if len(widths) > 1 else widths + 5).to(torch.int8).reshape(shape)
    fractions = MeasuredTensor((widths - 2).clamp(min=0))
    return Integer(8, fractions, element_width=MeasuredTensor(widths), granularity=granularity)


def network(weights: str, activations: str) -> ExportNetwork:
    """A convolution and a linear layer."""
    torch.manual_seed(0)
    x = drawn(40, 2, 6)
    model = nn.Sequential(nn.Conv1d(2, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(16, 3))
    formats = {}
    for node, layer, inputs in (("_0", model[0], (2, 6)), ("_3", model[3], (16,))):
        own = layer.weight.shape
        shapes = {"tensor": (1,) * len(own), "channel": (own[0], *(1,) * (len(own) - 1)), "element": tuple(own)}
        formats[node] = {
            "data_in": learned(granular_input(inputs, activations), activations),
            "weight": learned(shapes[weights], weights),
            "bias": Integer(8, 5),
        }
    return of_graph(quantised(model, formats, x), x)  # type: ignore[arg-type]


@pytest.mark.parametrize(("weights", "activations"), [*product(GRANULARITIES, GRANULARITIES)])
@pytest.mark.parametrize("to", ["onnx", "qonnx", "hls4ml", "verilog"])
def test_every_granularity_is_exported(weights: str, activations: str, to: str, tmp_path: Path) -> None:
    if to in ("qonnx", "hls4ml"):
        pytest.importorskip(to)
    if to == "hls4ml" and activations != "tensor":
        with pytest.raises(ExportError, match='data_in_granularity = "tensor"'):
            export(network(weights, activations), to, tmp_path / "out", UNVERIFIED[to])
        return
    found = export(network(weights, activations), to, tmp_path / "out", UNVERIFIED.get(to))
    assert found.is_exact or (found.not_verified and not found.checks)
