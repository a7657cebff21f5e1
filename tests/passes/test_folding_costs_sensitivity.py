"""Folding of batch norms, costs against torch's own counter, sensitivity, and metadata in saved graphs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from chop.errors import PassError
from chop.ir import MaseGraph
from chop.models import get_model
from chop.passes.graph import (
    add_common_metadata_analysis_pass,
    add_software_metadata_analysis_pass,
    count_costs_analysis_pass,
    fold_batch_norm_transform_pass,
    init_metadata_analysis_pass,
    quantize_transform_pass,
    sensitivity_analysis_pass,
)

FOUR: dict[str, Any] = {"name": "integer", "weight_width": 4, "weight_frac_width": "auto"}


class Net(nn.Module):
    """Convolutions with norms behind them (one without a bias), attention, a product of matrices."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(4)
        self.up = nn.ConvTranspose2d(4, 2, 2, stride=2)
        self.other_norm = nn.BatchNorm2d(2)
        self.fc = nn.Linear(8, 8)
        for norm in (self.norm, self.other_norm):
            for tensor in (norm.weight, norm.bias, norm.running_mean, norm.running_var):
                assert tensor is not None
                tensor.data = torch.rand_like(tensor) + 0.5

    def forward(self, x: Tensor) -> Tensor:
        image = self.other_norm(self.up(F.relu(self.norm(self.conv(x)))))
        rows = self.fc(image.mean(1))
        rows = F.scaled_dot_product_attention(rows, rows, rows)
        return torch.bmm(rows, rows.transpose(1, 2))


@pytest.fixture
def x() -> Tensor:
    return torch.randn(5, 3, 4, 4)


def test_folding_keeps_the_outputs_and_takes_the_norm_away(x: Tensor, tmp_path: Path) -> None:
    model = Net().eval()
    graph, info = fold_batch_norm_transform_pass(MaseGraph(model))
    assert info == {"folded": {"norm": "conv"}, "left": {"other_norm": "transposed convolutions are not folded"}}
    assert "norm" not in [node.name for node in graph.nodes]
    assert "other_norm" in [node.name for node in graph.nodes]
    torch.testing.assert_close(graph.model(x), model(x))
    graph, _ = quantize_transform_pass(graph, {"by": "name", "conv": {"config": FOUR}})
    assert not torch.equal(graph.model(x), model(x))
    loaded = MaseGraph.from_checkpoint(graph.export(tmp_path / "g.safetensors"), Net())
    assert torch.equal(loaded.model(x), graph.model(x))


def test_a_norm_with_formats_is_not_folded_away() -> None:
    graph, _ = quantize_transform_pass(MaseGraph(Net()), {"by": "type", "batch_norm2d": {"config": FOUR}})
    plan = graph.plan
    with pytest.raises(PassError, match="fold first"):
        fold_batch_norm_transform_pass(graph)
    assert graph.plan == plan


def test_flops_equal_those_of_torch(x: Tensor) -> None:
    model = Net().eval()
    _, info = count_costs_analysis_pass(MaseGraph(model), {"dummy_in": {"x": x}, "show": False})
    math_attention = torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH)  # the only one that is counted
    with math_attention, FlopCounterMode(display=False) as counter, torch.no_grad():
        model(x)
    assert info["total"]["flops"] == counter.get_total_flops() / len(x)


def test_bytes_and_bitops_follow_the_formats(x: Tensor) -> None:
    widths = {"name": "integer", "data_in_width": 8, "weight_width": 4, "bias_width": 8}
    graph, _ = quantize_transform_pass(MaseGraph(Net()), {"by": "name", "fc": {"config": widths}})
    _, info = count_costs_analysis_pass(graph, {"dummy_in": {"x": x}})
    row = info["fc"]
    assert row["macs"] == 8 * 8 * 8
    assert row["bitops"] == 8 * 8 * 8 * 8 * 4
    assert row["parameter_bytes"] == (64 * 4 + 8 * 8) / 8
    assert row["activation_bytes"] == 64


def test_an_embedding_by_channel_has_a_scale_for_each_row_of_its_table() -> None:
    graph, x = MaseGraph(nn.Sequential(nn.Embedding(10, 4), nn.Linear(4, 3))), torch.randint(10, (5, 6))
    by_channel = {"name": "scale_integer", "weight_width": 4, "weight_granularity": "channel"}
    graph, _ = quantize_transform_pass(graph, {"by": "type", "embedding": {"config": by_channel}})
    table = graph.inner(graph.nodes[1]).weight.detach()
    scale = table.abs().amax(1, keepdim=True) / 7
    torch.testing.assert_close(graph.model.get_submodule("0")(x), ((table / scale).round() * scale)[x])
    _, info = count_costs_analysis_pass(graph, {"dummy_in": {"input": x}, "show": False})
    assert info["_0"]["parameter_bytes"] == (10 * 4 * 4 + 10 * 32) / 8


def test_sensitivity_quantises_one_layer_at_a_time(tmp_path: Path) -> None:
    model = get_model("jsc-toy", pretrained=True)
    graph = MaseGraph(model)
    rows = torch.randn(64, 16)
    choices = [FOUR, {**FOUR, "weight_width": 8}]
    arguments = {"choices": choices, "input_generator": [{"x": rows}], "num_samples": 50, "save_dir": tmp_path}
    _, found = sensitivity_analysis_pass(graph, arguments)
    assert not list(graph.plan)
    exact = graph.model(rows[:50])
    for name in ("seq_blocks_2", "seq_blocks_8"):
        alone, _ = quantize_transform_pass(MaseGraph(model), {"by": "name", name: {"config": FOUR}})
        expected = float(((alone.model(rows[:50]) - exact).norm() / exact.norm()).detach())
        coarse, fine = found[name].values()
        assert coarse == pytest.approx(expected)
        assert fine < coarse
    picture = (tmp_path / "sensitivity.svg").read_text(encoding="utf-8")
    assert all(name in picture for name in found)
    arguments["score"] = lambda outputs: float((outputs.argmax(1) == exact.argmax(1)).float().mean())
    _, lost = sensitivity_analysis_pass(graph, arguments)
    assert all(0 <= value <= 1 for row in lost.values() for value in row.values())


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"choices": None}, "needs choices"),
        ({"choices": [{"name": "intger"}]}, "did you mean 'integer'?"),
        ({"num_samples": 0}, "num_samples"),
        ({"chioces": 1}, "did you mean 'choices'?"),
    ],
)
def test_wrong_arguments_of_sensitivity_are_told(change: dict[str, Any], told: str) -> None:
    arguments = {"choices": [FOUR], "input_generator": [{"x": torch.randn(4, 16)}], "num_samples": 4, **change}
    with pytest.raises(PassError) as caught:
        sensitivity_analysis_pass(MaseGraph(get_model("jsc-tiny")), arguments)
    assert told in str(caught.value)


def test_metadata_is_saved_with_the_graph(tmp_path: Path) -> None:
    graph = MaseGraph(get_model("jsc-tiny", pretrained=True))
    graph, _ = init_metadata_analysis_pass(graph)
    graph, _ = add_common_metadata_analysis_pass(graph, {"dummy_in": {"x": torch.randn(4, 16)}, "add_value": True})
    graph, _ = add_software_metadata_analysis_pass(graph)
    loaded = MaseGraph.from_checkpoint(graph.export(tmp_path / "g.safetensors"), get_model("jsc-tiny"))
    common = loaded.node("seq_blocks_2").meta["mase"]["common"]
    assert common["args"]["weight"] == {
        "shape": [5, 16],
        "torch_dtype": torch.float32,
        "type": "float",
        "precision": [32],
    }
    assert loaded.node("seq_blocks_2").meta["mase"]["software"] == graph.node("seq_blocks_2").meta["mase"]["software"]


class Masked(nn.Module):
    """Two outputs, an argument that may be None, and one that belongs to all samples."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.head = nn.Linear(4, 5), nn.Linear(5, 3)

    def forward(self, x: Tensor, scale: Tensor, mask: Tensor | None = None) -> dict[str, Tensor]:
        h = self.body(x) * scale
        return {"features": h, "scores": self.head(h)}


def test_sensitivity_measures_the_output_that_the_data_name_and_takes_none_and_common_tensors() -> None:
    x, scale = torch.randn(6, 4), torch.rand(5)
    graph = MaseGraph(Masked())
    inputs = [{"mask": None, "x": x, "scale": scale}]
    arguments = {"choices": [FOUR], "input_generator": inputs, "num_samples": 2, "output": "scores"}
    _, found = sensitivity_analysis_pass(graph, arguments)
    exact = graph.model(x[:2], scale=scale)["scores"]
    alone, _ = quantize_transform_pass(graph, {"by": "name", "head": {"config": FOUR}})
    expected = (alone.model(x[:2], scale=scale)["scores"] - exact).norm() / exact.norm()
    assert [*found["head"].values()] == [pytest.approx(float(expected.detach()))]
    with pytest.raises(PassError, match="no samples"):
        sensitivity_analysis_pass(graph, {**arguments, "input_generator": []})


@pytest.mark.parametrize("name", ["scale_integer", "mxint", "block_fp"])
def test_bitops_count_the_codes_and_no_shared_scale(name: str) -> None:
    keys = {"element_bits": 4, "block_size": [8]} if name == "mxint" else {"width": 4}
    keys |= {"exponent_width": 8, "block_size": [8]} if name == "block_fp" else {}
    config = {f"weight_{key}": value for key, value in keys.items()}
    graph = MaseGraph(nn.Sequential(nn.Linear(16, 8, bias=False)), example_inputs=torch.randn(2, 16))
    graph, _ = quantize_transform_pass(graph, {"by": "type", "linear": {"config": {"name": name, **config}}})
    _, costs = count_costs_analysis_pass(graph, {"dummy_in": {"input": torch.randn(2, 16)}, "show": False})
    assert costs["total"]["bitops"] == 16 * 8 * 32 * 4
    assert costs["total"]["parameter_bytes"] > 16 * 8 * 4 / 8  # the shared scale is stored
