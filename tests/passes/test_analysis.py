"""What the analysis passes find out, against numpy and the tensors themselves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from chop.dataset import MaseDataModule
from chop.errors import PassError
from chop.ir import MaseGraph
from chop.models import get_model, get_model_info
from chop.passes.graph import (
    add_common_metadata_analysis_pass,
    add_software_metadata_analysis_pass,
    init_metadata_analysis_pass,
    profile_statistics_analysis_pass,
    quantize_transform_pass,
    report_graph_analysis_pass,
    report_node_meta_param_analysis_pass,
    report_node_type_analysis_pass,
    summarize_quantization_analysis_pass,
)
from chop.tools.get_input import InputGenerator

EIGHT = {"name": "integer", "data_in_width": 8, "weight_width": 6, "weight_frac_width": 4}


@pytest.fixture
def graph() -> MaseGraph:
    return MaseGraph(get_model("jsc-tiny", pretrained=True))


@pytest.fixture
def batch() -> dict[str, Tensor]:
    return {"x": torch.randn(8, 16)}


def with_metadata(graph: MaseGraph, batch: dict[str, Tensor]) -> MaseGraph:
    graph, _ = init_metadata_analysis_pass(graph, None)
    graph, _ = add_common_metadata_analysis_pass(graph, {"dummy_in": batch})
    graph, _ = add_software_metadata_analysis_pass(graph, None)
    return graph


def test_common_metadata_holds_shapes_types_and_precisions(graph: MaseGraph, batch: dict[str, Tensor]) -> None:
    graph, _ = quantize_transform_pass(graph, {"by": "type", "linear": {"config": EIGHT}})
    graph = with_metadata(graph, batch)
    common = graph.node("seq_blocks_2").meta["mase"]["common"]
    assert common["mase_op"] == "linear"
    assert common["args"]["data_in_0"]["shape"] == [8, 16]
    assert common["args"]["data_in_0"]["precision"] == [8, 4]
    assert common["args"]["weight"]["shape"] == [5, 16]
    assert common["args"]["weight"]["precision"] == [6, 4]
    assert common["args"]["bias"] == {"shape": [5], "torch_dtype": torch.float32, "type": "float", "precision": [32]}
    assert common["results"]["data_out_0"]["shape"] == [8, 5]


def test_metadata_that_is_missing_is_told_with_the_pass_that_makes_it(graph: MaseGraph, batch: Any) -> None:
    with pytest.raises(PassError, match="init_metadata_analysis_pass"):
        add_common_metadata_analysis_pass(graph, {"dummy_in": batch})
    graph, _ = init_metadata_analysis_pass(graph)
    with pytest.raises(PassError, match="add_common_metadata_analysis_pass"):
        add_software_metadata_analysis_pass(graph)
    with pytest.raises(PassError, match="the model takes x"):
        add_common_metadata_analysis_pass(graph, {"dummy_in": {"y": batch["x"]}})


STATISTICS = {"range_min_max": {"abs": False}, "range_quantile": {"quantile": 0.9}}


def test_statistics_equal_those_of_numpy(graph: MaseGraph, batch: dict[str, Tensor]) -> None:
    graph = with_metadata(graph, batch)
    rows = torch.randn(100, 16)
    arguments = {
        "by": "type",
        "target_weight_nodes": ["linear"],
        "target_activation_nodes": ["linear"],
        "weight_statistics": STATISTICS,
        "activation_statistics": STATISTICS,
        "input_generator": [{"x": part} for part in rows.split(30)],
        "num_samples": 70,
    }
    graph, found = profile_statistics_analysis_pass(graph, arguments)
    norm, relu, linear, _ = graph.model.seq_blocks.children()
    activations = relu(norm(rows[:70])).detach().numpy().astype(np.float64)
    for name, values in (("weight", linear.weight.detach().numpy().astype(np.float64)), ("data_in_0", activations)):
        statistics = found["seq_blocks_2"][name]
        low, high = np.quantile(values, [0.05, 0.95])
        assert statistics["range_min_max"]["min"] == pytest.approx(values.min(), rel=1e-6)
        assert statistics["range_min_max"]["max"] == pytest.approx(values.max(), rel=1e-6)
        assert statistics["range_min_max"]["count"] == values.size
        assert statistics["range_quantile"]["min"] == pytest.approx(low, rel=1e-6, abs=1e-9)
        assert statistics["range_quantile"]["max"] == pytest.approx(high, rel=1e-6)
        stat = graph.node("seq_blocks_2").meta["mase"]["software"]["args"][name]["stat"]
        assert stat == statistics


class Scaled(nn.Module):
    """An argument that may be None, and one that belongs to all samples."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 3)

    def forward(self, x: Tensor, scale: Tensor, mask: Tensor | None = None) -> Tensor:
        return self.fc(x * scale)


def test_statistics_of_batches_with_none_common_tensors_and_other_lengths() -> None:
    scale, batches = torch.rand(4), [torch.randn(3, length, 4) for length in (2, 5)]
    graph = MaseGraph(Scaled())
    metadata = with_metadata(graph, {"x": batches[0], "mask": None, "scale": scale})
    arguments = {
        "by": "name",
        "target_activation_nodes": ["fc"],
        "activation_statistics": {"range_min_max": {"dims": "all"}},
        "input_generator": [{"mask": None, "x": x, "scale": scale} for x in batches],
        "num_samples": 5,
    }
    _, found = profile_statistics_analysis_pass(metadata, arguments)
    seen = torch.cat([(x * scale)[:rows].flatten() for x, rows in zip(batches, (3, 2), strict=True)])
    measured = found["fc"]["data_in_0"]["range_min_max"]
    assert (measured["min"], measured["max"]) == pytest.approx((float(seen.min()), float(seen.max())))
    assert measured["count"] == seen.numel()


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"target_weight_nodes": ["liner"]}, "did you mean 'linear'?"),
        ({"weight_statistics": {"range_min_mx": {}}}, "did you mean 'range_min_max'?"),
        ({"weight_statistics": {"range_quantile": {"quantile": 2}}}, "0 < quantile <= 1"),
        ({"num_samples": 0}, "num_samples"),
        ({"num_samples": 999}, "999 samples are asked for"),
        ({"by": "nam"}, "did you mean 'name'?"),
        ({"weight_statistics": {"range_min_max": {"device": "cuda:99"}}}, "device: 'cuda:99' cannot be used here"),
        ({"weight_statistics": {"range_min_max": {"device": "meta"}}}, "device: 'meta' cannot be used here"),
        ({"weight_statistics": {"range_min_max": {"device": "disc"}}}, "device: 'disc' cannot be used here"),
        ({"weight_statistics": {"range_min_max": {"device": [1]}}}, "device: [1] cannot be used here"),
    ],
)
def test_wrong_arguments_of_statistics_are_told(
    change: dict[str, Any], told: str, graph: MaseGraph, batch: dict[str, Tensor]
) -> None:
    arguments = {
        "by": "type",
        "target_weight_nodes": ["linear"],
        "target_activation_nodes": ["linear"],
        "weight_statistics": STATISTICS,
        "activation_statistics": STATISTICS,
        "input_generator": [batch],
        "num_samples": 8,
        **change,
    }
    with pytest.raises(PassError) as caught:
        profile_statistics_analysis_pass(with_metadata(graph, batch), arguments)
    assert told in str(caught.value)


def test_reports_show_every_node(graph: MaseGraph, batch: dict[str, Tensor], tmp_path: Path) -> None:
    graph = with_metadata(graph, batch)
    report_graph_analysis_pass(graph, {"file_name": tmp_path / "graph.txt"})
    report_node_meta_param_analysis_pass(graph, {"save_path": tmp_path / "meta.txt", "which": ["common"]})
    _, info = report_node_type_analysis_pass(graph)
    assert [row[0] for row in info["nodes"]] == [node.name for node in graph.nodes]
    assert "seq_blocks_2" in (tmp_path / "meta.txt").read_text(encoding="utf-8")
    assert "seq_blocks" in (tmp_path / "graph.txt").read_text(encoding="utf-8")


def test_a_summary_counts_what_was_quantised(graph: MaseGraph, tmp_path: Path) -> None:
    original = MaseGraph(get_model("jsc-tiny", pretrained=True))
    graph, _ = quantize_transform_pass(graph, {"by": "type", "linear": {"config": EIGHT}})
    _, info = summarize_quantization_analysis_pass(original, graph, save_dir=tmp_path)
    assert info["count"] == {"batch_norm1d": (1, 0), "linear": (1, 1), "relu": (2, 0)}
    assert "weight integer 6b/4f" in (tmp_path / "summary.txt").read_text(encoding="utf-8")


def test_inputs_of_a_data_module_feed_the_graph(graph: MaseGraph) -> None:
    data = MaseDataModule("jsc", batch_size=8, model_name="jsc-tiny")
    data.prepare_data()
    data.setup()
    generator = InputGenerator(data, get_model_info("jsc-tiny"), "cls", "train")
    graph = with_metadata(graph, next(iter(generator)))
    assert graph.node("seq_blocks_0").meta["mase"]["common"]["args"]["data_in_0"]["shape"] == [8, 16]


def test_every_statistic_equals_numpy_also_by_channel(graph: MaseGraph, batch: dict[str, Tensor]) -> None:
    graph = with_metadata(graph, batch)
    statistics = {
        name: {"dims": dims}
        for name in ("range_min_max", "range_n_sigma", "variance", "absolute_mean", "abs_mean", "record")
        for dims in ("channel",)
    }
    arguments = {
        "by": "name",
        "target_weight_nodes": ["seq_blocks_2"],
        "target_activation_nodes": ["seq_blocks_0"],
        "weight_statistics": statistics,
        "activation_statistics": statistics,
        "input_generator": [batch],
        "num_samples": 8,
    }
    _, found = profile_statistics_analysis_pass(graph, arguments)
    weights = graph.inner(graph.node("seq_blocks_2")).weight.detach().double().numpy()
    rows = batch["x"].double().numpy()
    for stat, values in ((found["seq_blocks_2"]["weight"], weights), (found["seq_blocks_0"]["data_in_0"], rows.T)):
        np.testing.assert_allclose(stat["range_min_max"]["max"], values.max(axis=1))
        np.testing.assert_allclose(stat["variance"]["variance"], values.var(axis=1))
        np.testing.assert_allclose(stat["absolute_mean"]["absolute_mean"], np.abs(values).mean(axis=1))
        np.testing.assert_allclose(stat["abs_mean"]["abs_mean"], np.abs(values).mean(axis=1))
        np.testing.assert_array_equal(stat["record"]["data"], values)
        np.testing.assert_allclose(stat["range_n_sigma"]["min"], values.mean(axis=1) - 3 * values.std(axis=1))
