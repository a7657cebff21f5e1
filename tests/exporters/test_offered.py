"""Which exporters are offered for networks, from their formats and operations alone."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from chop.exporters import EXPORTERS, Exporter
from chop.exporters.offered import exporters_that_take
from chop.formats import FORMATS, Format, Integer
from chop.ir import MaseGraph, QuantPlan

CIRCUITS = ("hls4ml", "qonnx", "verilog", "vhdl")
BY_CHANNEL = Integer(8, "auto", granularity="channel")
BLOCKS = FORMATS["block_fp"].from_keys({"width": 8, "block_size": [2], "exponent_width": 8})


def plan(chosen: Format, weight: Format) -> QuantPlan:
    return QuantPlan.of({name: {"data_in": chosen, "weight": weight, "bias": Integer(8, 4)} for name in ("_0", "_2")})


FIXED, BLOCKED = plan(Integer(8, 4), Integer(8, 4)), plan(BLOCKS, BLOCKS)


@pytest.mark.parametrize(
    ("plans", "between", "wanted"),
    [
        ([FIXED], nn.ReLU(), {*CIRCUITS, "onnx"}),
        ([FIXED], nn.ReLU6(), {*CIRCUITS, "onnx"} - {"hls4ml"}),
        ([FIXED], nn.GELU(), {"onnx"}),
        ([plan(BY_CHANNEL, BY_CHANNEL)], nn.ReLU(), {*CIRCUITS, "onnx"} - {"hls4ml"}),
        ([plan(Integer(8, 4), BLOCKS)], nn.ReLU(), {*CIRCUITS, "onnx"}),
        ([BLOCKED], nn.ReLU(), set()),
        ([FIXED, BLOCKED], nn.ReLU(), set()),
    ],
)
def test_what_refuses_no_network_is_offered(plans: list[QuantPlan], between: nn.Module, wanted: set[str]) -> None:
    x = torch.randn(4, 8)
    graph = MaseGraph(nn.Sequential(nn.Linear(8, 6), between, nn.Linear(6, 2)).eval(), example_inputs=x)
    assert set(exporters_that_take(graph, x, plans)) == wanted


def test_an_exporter_that_fails_when_it_is_asked_is_not_offered() -> None:
    class Failing(Exporter):
        """Fails when it is asked."""

        @classmethod
        def refused(cls, *arguments: object) -> None:  # type: ignore[override]
            raise RuntimeError("of its own")

    x = torch.randn(4, 8)
    graph = MaseGraph(nn.Sequential(nn.Linear(8, 6), nn.ReLU(), nn.Linear(6, 2)).eval(), example_inputs=x)
    with EXPORTERS.restored():
        EXPORTERS.register("failing")(Failing)
        assert set(exporters_that_take(graph, x, [FIXED])) == {*CIRCUITS, "onnx"}
