"""The runner of FINN's units: its layers, the slowest one, and networks that have no units."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from chop.actions.search import search
from chop.actions.search.strategies.runners.finn import Finn, FinnOptions
from chop.circuits.finn import MatrixVectorUnit
from chop.dataset import MaseDataModule
from chop.errors import MetricError
from chop.ir import MaseGraph, QuantPlan
from chop.ir.graph.node_costs import node_costs
from chop.passes.graph import quantize_transform_pass
from tests.actions.search.conftest import jets, jsc_tiny, lab

__all__ = ["jets", "jsc_tiny", "lab"]

WIDTHS = {"name": "integer", "data_in_width": 6, "weight_width": 4, "bias_width": 8}


class Image(nn.Module):
    """A convolution in two groups of channels, and a layer."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.fc = nn.Conv2d(4, 6, 3, groups=2), nn.Linear(24, 5)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.fc(torch.relu(self.conv(x)).flatten(1))
        return found


def total(options: FinnOptions, **more: Any) -> dict[str, float]:
    graph, found = quantize_transform_pass(MaseGraph(Image()), {"by": "type", "default": {"config": WIDTHS | more}})
    return Finn(None, options).total(node_costs(graph, torch.randn(2, 4, 4, 4)), found["plan"])


def test_luts_add_up_and_the_slowest_layer_sets_the_pace() -> None:
    found = total(FinnOptions(pe=2, simd=3))
    conv = MatrixVectorUnit(6, 18, 4, 4, 6, pe=2, simd=3)  # 2 channels of 3 x 3, at 2 x 2 places
    layer = MatrixVectorUnit(5, 24, 1, 4, 6, pe=1, simd=3)  # 5 outputs have no divisor 2
    assert found["finn_luts"] == conv.luts("block") + layer.luts("block")
    assert found["finn_brams"] == conv.memories("block") + layer.memories("block")
    assert (found["finn_cycles"], found["finn_latency"]) == (72, 72 + 40)


def test_a_target_folds_each_layer_and_pruning_changes_nothing() -> None:
    wide, narrow = total(FinnOptions(target_cycles=20)), total(FinnOptions(target_cycles=2000))
    assert wide["finn_cycles"] < 20 < narrow["finn_cycles"]
    assert wide["finn_luts"] > narrow["finn_luts"]
    assert total(FinnOptions(), weight_sparsity=0.5) == total(FinnOptions())


def test_a_layer_without_whole_numbers_is_named() -> None:
    with pytest.raises(MetricError, match="conv, fc: its data_in is in float; choose integer"):
        Finn(None).total(node_costs(MaseGraph(Image()), torch.randn(2, 4, 4, 4)), QuantPlan())


def test_trials_without_units_fail_with_their_reason_and_the_others_count(
    tmp_path: Path, lab: dict[str, Any], jets: MaseDataModule, jsc_tiny: nn.Module
) -> None:
    lab["search_space"]["seed"]["seq_blocks_2"]["config"]["name"] = ["integer", "NA"]
    lab["strategy"] |= {"name": "brute_force", "setup": {}, "hw_runner": {"finn": {}}, "metrics": {"finn_luts": {}}}
    result = search(jsc_tiny, jets, lab, tmp_path)
    failed = [trial.failed for trial in result.trials if trial.failed]
    assert len(failed) == 1 and len(result.trials) > 1
    assert "seq_blocks_2: its data_in is in float" in failed[0]
