"""The predictions of a plan in every way that the project has, one by one and many at once."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from chop.errors import GraphError
from chop.evaluation.evaluator import Evaluator
from chop.evaluation.measures import WholePredictions
from chop.evaluation.plan_runner import PlanRunner
from chop.formats import Format
from chop.ir import MaseGraph, QuantPlan

Formats = Mapping[str, Mapping[str, Format]]


def all_ways(graph: MaseGraph, formats: Formats, x: Tensor, at_once: bool = True) -> dict[str, Tensor]:
    """What `formats` make of the rows `x`, by name of the way; without `at_once` the evaluator must stand back."""
    own = copy.deepcopy(graph)
    own.apply_plan(QuantPlan.of(formats))
    with torch.no_grad():
        found = {"wrapper": own.model(x.clone())}
        found["wrapper again"] = own.model(x.clone())
    y = torch.zeros(len(x))
    runner = PlanRunner(graph, [(x.clone(), y)])
    found["runner in float"] = runner.predictions(QuantPlan())
    found["runner"] = runner.predictions(QuantPlan.of(formats))
    try:
        evaluator = Evaluator(graph, [[{}, formats]], [(x.clone(), y)])
    except GraphError:
        assert not at_once
        return found
    assert at_once
    measure = WholePredictions(y, lambda predictions, targets: {}, evaluator.program.example, ())
    evaluator.run_sorted(torch.arange(2)[:, None].numpy(), [measure])
    return found | {"evaluator in float": measure.predictions[0], "evaluator": measure.predictions[1]}


def saved_and_loaded(graph: MaseGraph, formats: Formats, model: nn.Module, x: Tensor, folder: Path) -> Tensor:
    """The predictions of the quantised graph after it was written and read."""
    own = copy.deepcopy(graph)
    own.apply_plan(QuantPlan.of(formats))
    loaded = MaseGraph.from_checkpoint(own.export(folder / "graph.safetensors"), model)
    with torch.no_grad():
        predictions: Tensor = loaded.model(x.clone())
    return predictions


def require_same(found: Mapping[str, Tensor], wanted: Tensor, in_float: Tensor) -> None:
    """Every way gives `wanted`, and `in_float` without formats."""
    for way, predictions in found.items():
        right = in_float if way.endswith("in float") else wanted
        torch.testing.assert_close(predictions, right, rtol=0, atol=1e-6, msg=lambda text, way=way: f"{way}: {text}")
