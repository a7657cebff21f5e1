"""Spaces with each kind of choice are trained, and a search measures what the training says."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from chop.actions.calibration import calibrate
from chop.actions.search.search_space.base import SpaceSetup
from chop.config.space_training import SpaceTrainingOptions
from chop.dataset import MaseDataModule
from chop.formats import Integer, OutputShift
from chop.ir import MaseGraph, QuantPlan
from chop.models import get_model
from chop.training.for_space import SpaceTraining
from chop.training.gradients import surrogates
from chop.training.plan_network import PlanNetwork
from chop.training.space_plans import probe_plans
from tests.scores import predict, score
from tests.training.spaces import LISTS, Few, data_module, space_of


@pytest.fixture(scope="module")
def jets() -> MaseDataModule:
    return data_module("jsc")


SPACES: dict[str, tuple[dict[str, Any], dict[str, Any], dict[str, Any]]] = {
    "formats": ({"name": ["integer", "scale_integer"]}, {}, {}),
    "tied nodes": ({}, {"tie": [["seq_blocks_3", "seq_blocks_5"]]}, {}),
    "tied operands": ({"data_in_width": [2, 4, 8]}, {"tie_operands": ["weight", "data_in"]}, {}),
    "a layer of its own": ({}, {}, {"seq_blocks_4": {"config": {"weight_width": [3], "data_in_width": [2, 5]}}}),
    "sparsity": ({"weight_sparsity": [0.0, 0.8]}, {}, {}),
    "second-order rounding": ({"weight_rounding": ["nearest", "gptq"], "weight_sparsity": [0.5]}, {}, {}),
    "bias correction": ({"bias_correction": [True, False]}, {}, {}),
    "bias correction under the plan": ({"bias_correction": ["plan"]}, {}, {}),
}


@pytest.mark.parametrize("name", SPACES)
def test_any_space_is_trained_and_a_search_measures_what_its_probes_score(jets: MaseDataModule, name: str) -> None:
    lists, setup, override = SPACES[name]
    few = Few(jets)
    space = space_of(
        get_model("jsc-mlp", pretrained=True), few, {**LISTS, **lists}, SpaceSetup(by="type", **setup), override
    )
    training = SpaceTraining(space, few, SpaceTrainingOptions(max_epochs=1, probes=5, batch_size=256))
    untrained = training.weights()
    training.train_epoch(0)
    scores, weights = training.probe()
    names = list(training.graph.model.state_dict())
    assert not any(torch.equal(weights[own], untrained[own]) for own in names)
    model = get_model("jsc-mlp")
    model.load_state_dict(dict(zip(model.state_dict(), (weights[own] for own in names), strict=True)))
    graph = MaseGraph(model)
    graph.choice_offsets = training.offsets_in(weights)
    calibrate(graph, few, space.calibration_rows or 512)
    for plan, value in zip(probe_plans(space, 5, seed=0), scores.values, strict=True):
        graph.apply_plan(plan)
        assert value == score(*predict(graph.model, few.batches("val")), num_classes=5)["accuracy"]


def test_a_bias_that_is_corrected_under_the_plan_is_trained_as_torch_written_out() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 3))
    x, y = torch.randn(16, 6), torch.randint(3, (16,))
    graph = MaseGraph(model)
    graph.calibrate({(name, "data_out"): torch.full((4, n), 9.0) for name, n in (("_0", 5), ("_2", 3))})
    shift = OutputShift(last=True, under_plan=True)
    formats = {name: {"weight": Integer(3, 2), "data_out": shift} for name in ("_0", "_2")}
    network = PlanNetwork(graph)
    network.restore_means_of([x])
    F.cross_entropy(network([x], surrogates(graph.freeze(QuantPlan.of(formats)))), y).backward()

    first, last = model[0], model[2]
    hidden, in_float = x, x
    for layer in (first, last):
        rounded = layer.weight + (Integer(3, 2).quantize(layer.weight) - layer.weight).detach()
        if layer is last:
            hidden, in_float = F.relu(hidden), F.relu(in_float)
        hidden, in_float = F.linear(hidden, rounded, layer.bias), layer(in_float).detach()
        hidden = hidden + (in_float.mean(0) - hidden.mean(0)).detach()
    F.cross_entropy(hidden, y).backward()
    for own, wanted in zip(graph.model.parameters(), model.parameters(), strict=True):
        torch.testing.assert_close(own.grad, wanted.grad)
