"""The pass that measures batch norms under a graph's formats, and what reads them afterwards."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from chop.errors import GraphError, PassError
from chop.ir import MaseGraph
from chop.models.checkpoint_file import read_checkpoint
from chop.passes.graph import (
    absorb_batch_norm_transform_pass,
    fold_batch_norm_transform_pass,
    measure_batch_norm_transform_pass,
    quantize_transform_pass,
)
from tests.conftest import Command

FOUR = {"name": "integer", "data_in_width": 4, "weight_width": 4, "bias_width": 6}


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.one, self.norm = nn.Linear(6, 5), nn.BatchNorm1d(5)
        self.two, self.other = nn.Linear(5, 3), nn.BatchNorm1d(3)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.norm(self.one(x)))
        scores: Tensor = self.other(self.two(x))
        return scores


def quantised() -> tuple[MaseGraph, Tensor, Tensor]:
    torch.manual_seed(1)
    graph, _ = quantize_transform_pass(MaseGraph(Net().eval()), {"by": "type", "linear": {"config": FOUR}})
    return graph, torch.randn(64, 6) * 2, torch.randn(20, 6)


def measured(**more: Any) -> tuple[MaseGraph, Tensor]:
    graph, seen, x = quantised()
    batches = [{"x": seen[:50]}, {"x": seen[50:]}]
    graph, _ = measure_batch_norm_transform_pass(graph, {"input_generator": batches, "num_samples": 60, **more})
    return graph, x


def test_each_norm_has_the_statistics_of_what_it_reads() -> None:
    graph, seen, _ = quantised()
    info = measure_batch_norm_transform_pass(graph, {"input_generator": [{"x": seen}], "num_samples": 60})[1]
    assert info == {"measured": ["norm", "other"], "rows": 60}
    model: Any = graph.model
    with torch.no_grad():
        hidden = model.one(seen[:60])
        wanted = F.relu(F.batch_norm(hidden, None, None, model.norm.weight, model.norm.bias, True))
        outputs = F.batch_norm(model.two(wanted), None, None, model.other.weight, model.other.bias, True)
        torch.testing.assert_close(model(seen[:60]), outputs, rtol=0, atol=1e-5)
    assert [name for name in graph.plan if "statistics" in graph.plan[name]] == ["norm", "other"]
    one = measured(nodes=["other"])[0]
    assert [name for name in one.plan if "statistics" in one.plan[name]] == ["other"]


def test_settled_statistics_compute_the_same_and_are_the_networks_own(tmp_path: Path) -> None:
    (held, x), (settled, _) = measured(), measured(settle=True)
    with torch.no_grad():
        assert torch.equal(held.model(x), settled.model(x))
    assert not any("statistics" in settled.plan[name] for name in settled.plan)
    found: Any = settled.model.norm
    kept: Any = held.plan["norm"]["statistics"]
    assert torch.equal(found.running_mean, kept.mean.values)
    again = copy.deepcopy(held)
    again.settle_statistics()
    assert torch.equal(again.model(x), held.model(x))
    path = settled.export(tmp_path / "g.safetensors")
    assert torch.equal(read_checkpoint(path).state_dict["norm.running_mean"], kept.mean.values)


def test_folding_and_absorbing_take_the_measured_ones() -> None:
    graph, x = measured()
    in_float = copy.deepcopy(graph)
    in_float.settle_statistics()
    quantize_transform_pass(in_float, {"by": "type", "default": {"config": {"name": "NA"}}})
    wanted = in_float.model(x)
    for change in (fold_batch_norm_transform_pass, absorb_batch_norm_transform_pass):
        own = copy.deepcopy(graph)
        change(own, {"show": False})
        quantize_transform_pass(own, {"by": "type", "default": {"config": {"name": "NA"}}})
        torch.testing.assert_close(own.model(x), wanted, rtol=0, atol=1e-5)


def test_they_are_measured_anew_after_training() -> None:
    graph, x = measured()
    before = graph.plan["other"]["statistics"]
    graph.model.train()
    in_training = graph.model(x)
    assert in_training.mean(0).abs().max() < 1e-5  # by the statistics of the batch: the measured ones are left out
    with torch.no_grad():
        for own in graph.model.parameters():
            own.add_(0.5 * torch.randn_like(own))
    graph.model.eval()
    frozen = copy.deepcopy(graph)
    frozen.apply_plan(frozen.plan)
    assert frozen.plan["other"]["statistics"] == before
    graph.measure_under_plan()
    assert graph.plan["other"]["statistics"] != before
    twin = copy.deepcopy(graph)
    twin.apply_plan(twin.requested_plan)
    assert twin.plan == graph.plan
    assert torch.equal(twin.model(x), graph.model(x))


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ({"nodes": ["one"]}, "'one' is no batch norm"),
        ({"num_samples": 1}, "at least 2"),
        ({"input_generator": [{"x": torch.zeros(4, 6)}, {"x": torch.zeros(4, 6).double()}]}, "one form"),
        ({"sttle": True}, "did you mean 'settle'"),
    ],
)
def test_what_cannot_be_measured_is_told(more: dict[str, Any], told: str) -> None:
    with pytest.raises(PassError, match=told):
        measured(**more)


def test_without_samples_nothing_is_measured() -> None:
    graph, _, _ = quantised()
    with pytest.raises(PassError, match="needs input_generator"):
        measure_batch_norm_transform_pass(graph)
    with pytest.raises(PassError, match=r"node 'norm': batch norm is to be measured.*calibrate_analysis_pass"):
        quantize_transform_pass(
            graph, {"by": "type", "batch_norm1d": {"config": {"name": "NA", "batch_norm": "measured"}}}
        )


class Shared(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(6)

    def forward(self, x: Tensor) -> Tensor:
        both: Tensor = self.norm(x) + self.norm(3 * x + 1)
        return both


def test_a_norm_that_is_called_twice_has_two_statistics_and_cannot_hold_both() -> None:
    graph, x = MaseGraph(Shared().eval()), torch.randn(30, 6)
    measure_batch_norm_transform_pass(graph, {"input_generator": [{"x": x}], "num_samples": 30})
    wanted = F.batch_norm(x, None, None, training=True) + F.batch_norm(3 * x + 1, None, None, training=True)
    torch.testing.assert_close(graph.model(x), wanted, rtol=0, atol=1e-5)
    with pytest.raises(GraphError, match="share the running statistics"):
        graph.settle_statistics()


def test_a_file_runs_it(tmp_path: Path, ch: Command) -> None:
    config = tmp_path / "t.toml"
    config.write_text(
        'model = "jsc-toy"\ndataset = "jsc"\ntask = "cls"\n[passes.quantize]\nby = "type"\n'
        '[passes.quantize.linear.config]\nname = "integer"\ndata_in_width = 4\nweight_width = 4\n'
        "[passes.measure_batch_norm]\nnum_samples = 256\n",
        encoding="utf-8",
    )
    ch("transform", "--config", str(config), "--pretrained", "--project-dir", str(tmp_path), "--project", "p")
    graph = MaseGraph.from_checkpoint(tmp_path / "p" / "software" / "transform" / "graph.safetensors")
    assert not graph.plan.is_open
    assert "statistics" in graph.plan["seq_blocks_0"]
