"""Checks that `PlanRunner`, which does not change the graph, computes what the graph with the plan computes."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from chop.errors import ChopError
from chop.evaluation.float_values import batch_rows
from chop.evaluation.guard.findings import Finding
from chop.evaluation.guard.near_float import CLOSE, outputs, relative_difference
from chop.evaluation.guard.node_runs import seed
from chop.evaluation.plan_runner import PlanRunner
from chop.ir import MaseGraph, QuantPlan

CURE = "please report it with the model: both ways must agree"


def two_ways_findings(graph: MaseGraph, x: Any, runner: PlanRunner, plan: QuantPlan) -> Iterator[Finding]:
    """The first operand whose format makes the two ways differ under `plan`, which `graph` has."""
    try:
        if _agree(graph, runner, x, plan):
            return
        alone = [QuantPlan.of({name: {own: chosen}}) for name in plan for own, chosen in plan[name].items()]
        single = next((one for one in alone if not _agree(graph, runner, x, one, is_new=True)), plan)
    except ChopError:
        return  # an output that cannot be scored is told elsewhere
    name = next(iter(single))
    operands = ", ".join(single[name])
    yield Finding(name, operands, "measured plan by plan, the network returns other results than as a model", CURE)


def plan_runner(graph: MaseGraph, x: Any) -> PlanRunner:
    """A plan runner for the samples `x`, on a graph of its own."""
    return PlanRunner(copy.deepcopy(graph), [(x, torch.zeros(batch_rows(x)))])


def _agree(graph: MaseGraph, runner: PlanRunner, x: Any, plan: QuantPlan, is_new: bool = False) -> bool:
    seed()
    got: Tensor = runner.predictions(plan)
    if is_new:
        graph.apply_plan(plan)
    wanted = outputs(graph, x)
    return any(own.shape == got.shape and relative_difference(own, got) <= CLOSE for own in wanted)
