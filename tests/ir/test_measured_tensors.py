"""Tensors that formats hold: kept with a saved graph, and equal to the bit when it is loaded."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from torch import Tensor

from chop.errors import CheckpointError
from chop.formats import FORMATS, Format, MeasuredTensor
from chop.ir import MaseGraph, QuantPlan
from chop.models import get_model
from chop.models.checkpoint import load_weights
from chop.models.checkpoint_file import GRAPH_KEY, read_checkpoint, save_tensors


@pytest.fixture(autouse=True)
def registered() -> Iterator[None]:
    with FORMATS.restored():
        FORMATS.register("steps-of-a-test")(Steps)
        yield


@dataclass(frozen=True)
class Steps(Format):
    """Rounds each element to a step of its own."""

    steps: MeasuredTensor

    def bits(self, shape: Sequence[int]) -> int:
        return 8

    def _round(self, x: Tensor) -> Tensor:
        steps = self.steps.on(x)
        return (x / steps).round() * steps


def quantised() -> MaseGraph:
    graph = MaseGraph(get_model("jsc-tiny", pretrained=True))
    weight = graph.model.get_parameter("seq_blocks.2.weight")
    steps = MeasuredTensor(torch.rand(weight.shape, generator=torch.Generator().manual_seed(1)) + 0.1)
    graph.apply_plan(QuantPlan.of({"seq_blocks_2": {"weight": Steps(steps)}}))
    return graph


def test_a_loaded_graph_has_the_same_tensors_and_computes_the_same(tmp_path: Path) -> None:
    graph, x = quantised(), torch.randn(7, 16)
    path = graph.export(tmp_path / "g.safetensors", {"model": "jsc-tiny"})
    loaded = MaseGraph.from_checkpoint(path)
    assert loaded.plan == graph.plan
    assert hash(loaded.plan) == hash(graph.plan)
    assert torch.equal(loaded.model(x), graph.model(x))
    again = MaseGraph.from_checkpoint(loaded.export(tmp_path / "again.safetensors"))
    assert again.plan == graph.plan
    load_weights(get_model("jsc-tiny"), path)  # as a checkpoint of its weights: without the formats and their tensors


def test_equal_tensors_are_equal_values_whatever_they_share() -> None:
    own = torch.ones(3)
    held = MeasuredTensor(own)
    own[0] = 2
    assert held == MeasuredTensor(torch.ones(3))
    assert held != MeasuredTensor(own)
    assert held != MeasuredTensor(torch.ones(3).double())
    assert held != MeasuredTensor(torch.ones(3, 1))
    assert len({Steps(held), Steps(MeasuredTensor(torch.ones(3)))}) == 1


def test_a_file_that_lacks_a_tensor_is_refused(tmp_path: Path) -> None:
    path = quantised().export(tmp_path / "g.safetensors", {"model": "jsc-tiny"})
    found = read_checkpoint(path)
    assert json.loads(found.metadata[GRAPH_KEY])["version"] == 2
    save_tensors(found.state_dict, path, found.metadata)
    with pytest.raises(CheckpointError, match="its formats cannot be read"):
        MaseGraph.from_checkpoint(path)


def test_a_graph_without_such_tensors_is_a_file_that_earlier_versions_read(tmp_path: Path) -> None:
    path = MaseGraph(get_model("jsc-tiny")).export(tmp_path / "g.safetensors")
    assert json.loads(read_checkpoint(path).metadata[GRAPH_KEY])["version"] == 1
