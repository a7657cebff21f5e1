"""Costs of learned widths: each value counts its own bits."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from chop.formats import Integer, MeasuredTensor
from chop.ir import MaseGraph, QuantPlan
from chop.passes.graph.analysis.costs import count_costs_analysis_pass


def learned(shape: tuple[int, ...], seed: int) -> Integer:
    widths = torch.randint(0, 7, shape, generator=torch.Generator().manual_seed(seed), dtype=torch.int8)
    return Integer(6, MeasuredTensor(torch.zeros_like(widths)), element_width=MeasuredTensor(widths))


def widths_of(chosen: Integer) -> torch.Tensor:
    assert chosen.element_width is not None
    return chosen.element_width.values.long()


@pytest.mark.parametrize(
    ("layer", "shape", "weight", "data_in"),
    [
        (nn.Linear(5, 4), (5,), (4, 5), (5,)),
        (nn.Linear(5, 4), (5,), (4, 1), (1,)),
        (nn.Conv2d(4, 6, 3, groups=2), (4, 3, 3), (6, 2, 3, 3), (4, 1, 1)),
        (nn.Conv2d(4, 6, 1, groups=2), (4, 3, 3), (6, 1, 1, 1), (4, 3, 3)),
    ],
)
def test_every_product_counts_the_bits_of_its_factors(
    layer: Any, shape: tuple[int, ...], weight: tuple[int, ...], data_in: tuple[int, ...]
) -> None:
    """BitOPs by a loop over all products of a sample: the layer itself, on bits in place of values."""
    graph = MaseGraph(nn.Sequential(layer))
    formats = {"weight": learned(weight, 0), "data_in": learned(data_in, 1), "bias": learned((layer.bias.shape[0],), 2)}
    graph.apply_plan(QuantPlan.of({"_0": formats}))
    x = torch.randn(3, *shape)
    _, info = count_costs_analysis_pass(graph, {"dummy_in": {"input": x}, "show": False})
    with torch.no_grad():
        layer.weight.copy_(widths_of(formats["weight"]).expand(layer.weight.shape))
        layer.bias.zero_()
        products = layer(widths_of(formats["data_in"]).expand(1, *shape).float()).sum()
    assert info["_0"]["bitops"] == pytest.approx(float(products))
    sizes = sum(widths_of(formats[name]).expand(getattr(layer, name).shape).sum() for name in ("weight", "bias"))
    assert info["_0"]["parameter_bytes"] * 8 == int(sizes)
    assert info["_0"]["activation_bytes"] * 8 == int(widths_of(formats["data_in"]).expand(shape).sum())
