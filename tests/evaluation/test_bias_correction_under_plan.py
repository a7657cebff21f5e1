"""Bias correction under the plan, for networks without batch norm: means are put back, in every way to run alike."""

from __future__ import annotations

import copy
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from chop.errors import PassError
from chop.evaluation.plan_runner import PlanRunner
from chop.evaluation.program import Axis
from chop.ir import MaseGraph, QuantPlan
from chop.passes.graph import calibrate_analysis_pass, quantize_transform_pass
from chop.passes.graph.transforms.quantize import plan_from_config
from tests.evaluation.test_measured_batch_norm import at_once, plans_of

FIXED = {"name": "integer", "data_in_width": 5, "weight_width": 3, "bias_width": 8, "bias_correction": "plan"}
SCALED = {
    "name": "scale_integer",
    "data_in_width": 6,
    "weight_width": 3,
    "weight_granularity": "channel",
    "bias_width": 8,
    "bias_correction": "plan",
}


class Vectors(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.one, self.two, self.last = nn.Linear(6, 8), nn.Linear(8, 8), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        hidden = F.relu(self.one(x))
        scores: Tensor = self.last(F.relu(self.two(hidden) + hidden))
        return scores


class Images(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.one, self.two, self.last = nn.Conv2d(2, 4, 3), nn.Conv2d(4, 4, 3), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        hidden = F.relu(self.two(F.relu(self.one(x))))
        scores: Tensor = self.last(hidden.mean((2, 3)))
        return scores


def calibrated(cls: type[nn.Module]) -> tuple[MaseGraph, Tensor, Tensor]:
    torch.manual_seed(5)
    shape = (6,) if cls is Vectors else (2, 7, 7)
    seen, x = torch.randn(60, *shape), torch.randn(30, *shape)
    graph = MaseGraph(cls().eval())
    calibrate_analysis_pass(graph, {"input_generator": [{"x": seen}], "num_samples": 60})
    return graph, seen, x


def axes_of(graph: MaseGraph, config: dict[str, Any]) -> list[Axis]:
    """For each layer float, and the config without a correction, with the usual one, and with that under the plan."""
    axes: list[Axis] = []
    for name in ("one", "two", "last"):
        plans = [QuantPlan()]
        for kind in (False, True, "plan"):
            chosen = {"by": "name", name: {"config": {**config, "bias_correction": kind}}}
            plans.append(graph.freeze(plan_from_config(graph, chosen)))
        axes.append([{name: plan[name]} for plan in plans])
    return axes


@pytest.mark.parametrize("config", [FIXED, SCALED, {**FIXED, "data_out_width": 6}])
@pytest.mark.parametrize("cls", [Vectors, Images])
def test_all_ways_to_run_a_plan_agree(cls: type[nn.Module], config: dict[str, Any], tmp_path: Path) -> None:
    graph, _, x = calibrated(cls)
    axes = axes_of(graph, config)
    codes = np.array(list(product(range(4), repeat=3)))
    together = at_once(graph, axes, codes, x)
    runner = PlanRunner(graph, [(x.clone(), torch.zeros(len(x)))])
    is_exact = cls is Vectors and config is not SCALED
    for number, plan in enumerate(plans_of(axes, codes)):
        wanted = runner.predictions(plan)
        if is_exact or not number % 5:
            off = (together[number] - wanted).abs()
            assert off.median() <= (
                0 if is_exact and "data_out_width" not in config and 0 not in codes[number] else 1e-5
            )
        if number % 13 == 0:
            built = copy.deepcopy(graph)
            built.apply_plan(plan)
            loaded = MaseGraph.from_checkpoint(built.export(tmp_path / "g.safetensors"), cls())
            with torch.no_grad():
                assert torch.equal(built.model(x), wanted)
                assert torch.equal(loaded.model(x), wanted)


@pytest.mark.parametrize("cls", [Vectors, Images])
def test_the_means_of_every_layer_are_those_in_float(cls: type[nn.Module]) -> None:
    graph, seen, _ = calibrated(cls)
    in_float, quantised = copy.deepcopy(graph), copy.deepcopy(graph)
    quantize_transform_pass(quantised, {"by": "type", "default": {"config": FIXED}})
    for name in ("one", "two", "last"):
        found = [_results(own, name, seen) for own in (in_float, quantised)]
        means = [own.movedim(1, -1).flatten(0, -2).mean(0) for own in found]
        torch.testing.assert_close(*means, rtol=0, atol=1e-5)
    assert (_results(in_float, "last", seen) - _results(quantised, "last", seen)).abs().max() > 0.01


def test_spreads_are_put_back_where_weights_have_a_scale_for_each_channel() -> None:
    graph, seen, _ = calibrated(Vectors)
    quantised = copy.deepcopy(graph)
    quantize_transform_pass(quantised, {"by": "type", "linear": {"config": SCALED}})
    for name in ("one", "two", "last"):
        own, wanted = (_results(each, name, seen) for each in (quantised, graph))
        torch.testing.assert_close(own.std(0), wanted.std(0), rtol=1e-4, atol=1e-5)
    assert quantised.plan["one"]["data_out"].scale is not None  # type: ignore[attr-defined]


@torch.no_grad()
def _results(graph: MaseGraph, name: str, x: Tensor) -> Tensor:
    """The results of a node, formats included."""
    found: list[Tensor] = []
    module = graph.model.get_submodule(name)
    handle = module.register_forward_hook(lambda *args: found.append(args[-1]))
    graph.model(x)
    handle.remove()
    return found[0]


def test_another_value_is_told() -> None:
    graph, _, _ = calibrated(Vectors)
    with pytest.raises(PassError, match='bias_correction: expected true or false, or "plan"'):
        quantize_transform_pass(graph, {"by": "type", "linear": {"config": {**FIXED, "bias_correction": "plans"}}})
