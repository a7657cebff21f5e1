"""Ranges and bias corrections that are measured: once, on the float model, and kept wherever the graph goes."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from chop.errors import PassError
from chop.evaluation.plan_runner import PlanRunner
from chop.formats import Binary, Integer, OutputShift, ScaleInteger
from chop.ir import MaseGraph
from chop.passes.graph import calibrate_analysis_pass, quantize_transform_pass

AUTO: dict[str, Any] = {
    "name": "integer",
    **{f"{operand}_width": 6 for operand in ("data_in", "weight", "bias")},
    **{f"{operand}_frac_width": "auto" for operand in ("data_in", "weight", "bias")},
}


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv1d(2, 3, 3, padding=1)
        self.fc = nn.Linear(3 * 8, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(F.relu(self.conv(x)).flatten(1))


@pytest.fixture
def rows() -> Tensor:
    return torch.randn(64, 2, 8) * 5


def calibrated(rows: Tensor) -> MaseGraph:
    torch.manual_seed(0)
    graph, info = calibrate_analysis_pass(MaseGraph(Net()), {"input_generator": [{"x": rows}], "num_samples": 64})
    assert info == {"rows": 64}
    return graph


def test_fraction_widths_leave_room_for_the_range(rows: Tensor) -> None:
    graph, _ = quantize_transform_pass(calibrated(rows), {"by": "type", "conv1d": {"config": AUTO}})
    chosen = graph.plan["conv"]["data_in"]
    assert isinstance(chosen, Integer)
    assert isinstance(chosen.frac_width, int)
    top = 2.0 ** (5 - chosen.frac_width)
    assert top / 2 <= float(rows.abs().max()) < top


def test_ranges_do_not_depend_on_what_runs_later(rows: Tensor) -> None:
    graph, _ = quantize_transform_pass(calibrated(rows), {"by": "type", "conv1d": {"config": AUTO}})
    whole = graph.model(rows * 100)
    torch.testing.assert_close(torch.cat([graph.model(row * 100) for row in rows.split(1)]), whole)


def test_activations_must_have_been_seen() -> None:
    with pytest.raises(PassError, match="run calibrate_analysis_pass first"):
        quantize_transform_pass(MaseGraph(Net()), {"by": "type", "linear": {"config": AUTO}})


def test_weights_alone_need_no_calibration() -> None:
    config = {"name": "scale_integer", "weight_width": 4, "weight_granularity": "channel"}
    graph, _ = quantize_transform_pass(MaseGraph(Net()), {"by": "type", "linear": {"config": config}})
    chosen = graph.plan["fc"]["weight"]
    assert isinstance(chosen, ScaleInteger)
    assert chosen.scale is not None
    assert len(chosen.scale) == 4


@pytest.mark.parametrize("node", ["conv", "fc"])
def test_bias_correction_puts_the_mean_back(node: str, rows: Tensor) -> None:
    graph = calibrated(rows)
    coarse = {"name": "integer", "weight_width": 2, "weight_frac_width": "auto"}
    outputs = []
    for corrected in (False, True):
        config = {"by": "name", node: {"config": {**coarse, "bias_correction": corrected}}}
        graph, _ = quantize_transform_pass(graph, config)
        layer, seen = graph.model.get_submodule(node), graph.calibration.tensors[node, "data_in"]
        error = layer(seen) - graph.inner(graph.node(node))(seen)
        outputs.append(error.movedim(1, -1).flatten(0, -2).mean(0).abs().max())
    assert outputs[0] > 0.01
    assert outputs[1] < 1e-5


def test_the_evaluator_and_saved_graphs_keep_all_of_it(rows: Tensor, tmp_path: Path) -> None:
    graph = calibrated(rows)
    block = {"name": "mxint", "weight_block_size": [1, 4], "data_in_block_size": [1, 4], "bias_correction": True}
    config = {"by": "type", "conv1d": {"config": {**AUTO, "bias_correction": True}}, "linear": {"config": block}}
    plan = quantize_transform_pass(copy.deepcopy(graph), config)[1]["plan"]
    assert isinstance(plan["conv"]["data_out"], OutputShift)
    x = torch.randn(7, 2, 8)
    graph, _ = quantize_transform_pass(graph, config)
    expected = graph.model(x)
    assert torch.equal(PlanRunner(graph, [(x, torch.zeros(7))]).predictions(plan), expected)
    loaded = MaseGraph.from_checkpoint(graph.export(tmp_path / "g.safetensors"), Net())
    assert loaded.plan == graph.plan
    assert torch.equal(loaded.model(x), expected)


def test_nan_in_the_weights_is_told_with_its_node() -> None:
    model = Net()
    model.fc.weight.data[0, 0] = float("nan")
    config = {"name": "integer", "weight_width": 4}
    with pytest.raises(PassError, match="node 'fc': weight holds NaN"):
        quantize_transform_pass(MaseGraph(model), {"by": "type", "linear": {"config": config}})


def test_changed_weights_are_measured_anew_and_copies_are_on_their_own() -> None:
    config = {"by": "type", "linear": {"config": {"name": "scale_integer", "weight_width": 8}}}
    graph, _ = quantize_transform_pass(MaseGraph(Net()), config)
    twin = copy.deepcopy(graph)
    with torch.no_grad():
        graph.inner(graph.node("fc")).weight.mul_(100)
    graph, info = quantize_transform_pass(graph, config)
    twin, other = quantize_transform_pass(twin, config)
    ours, theirs = info["plan"]["fc"]["weight"], other["plan"]["fc"]["weight"]
    assert ours.scale[0] == pytest.approx(100 * theirs.scale[0])


def test_calibrating_again_measures_again(rows: Tensor) -> None:
    graph, _ = quantize_transform_pass(calibrated(rows), {"by": "type", "conv1d": {"config": AUTO}})
    before = graph.plan["conv"]["data_in"].frac_width
    graph, _ = calibrate_analysis_pass(graph, {"input_generator": [{"x": rows * 64}]})
    assert graph.plan["conv"]["data_in"].frac_width == before - 6


def test_channels_are_those_of_the_op() -> None:
    model = nn.Sequential(nn.ConvTranspose1d(3, 5, 2), nn.Flatten(1), nn.Unflatten(1, (2, 15)), nn.Linear(15, 4))
    config = {"name": "scale_integer", "weight_width": 8, "weight_granularity": "channel"}
    config |= {"data_in_width": 8, "data_in_granularity": "channel", "bias_width": 8, "bias_granularity": "channel"}
    x = torch.randn(9, 3, 5)
    graph, _ = calibrate_analysis_pass(MaseGraph(model), {"input_generator": [{"input": x}]})
    graph, info = quantize_transform_pass(graph, {"by": "type", "default": {"config": config}})
    sizes = {
        name: {operand: len(chosen.scale) for operand, chosen in info["plan"][name].items()} for name in ("_0", "_3")
    }
    assert sizes == {"_0": {"data_in": 3, "weight": 5, "bias": 1}, "_3": {"data_in": 15, "weight": 4, "bias": 1}}
    assert graph.model(x).shape == (9, 2, 4)


@pytest.mark.parametrize("shape", [(6,), (4, 6), (3, 4, 5)])
def test_bits_do_not_depend_on_whether_it_was_measured_yet(shape: tuple[int, ...]) -> None:
    for chosen in (ScaleInteger(width=8, granularity="channel"), Binary(scaled=True, granularity="channel")):
        assert chosen.bits(shape) == chosen.calibrated(torch.randn(shape)).bits(shape)


class Offset(nn.Module):
    def forward(self, x: Tensor, offset: Tensor) -> Tensor:
        return torch.relu(x + offset.sum())


def test_arguments_without_rows_are_left_whole() -> None:
    batch = {"x": torch.zeros(6, 4), "offset": torch.ones(3)}
    graph, info = calibrate_analysis_pass(MaseGraph(Offset()), {"input_generator": [batch] * 2, "num_samples": 8})
    assert info == {"rows": 8}
    assert torch.equal(graph.calibration.tensors["relu", "data_in"], torch.full((8, 4), 3.0))
