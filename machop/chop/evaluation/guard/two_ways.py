"""Whether `PlanRunner`, which measures plans without changing the graph, gives what the graph with the plan gives."""

from __future__ import annotations

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


def two_ways_findings(graph: MaseGraph, x: Any, plan: QuantPlan) -> Iterator[Finding]:
    """The first node whose formats alone make the two ways differ, if they differ under `plan`."""
    try:
        runner = PlanRunner(graph, [(x, torch.zeros(batch_rows(x)))])
        if _agree(graph, runner, x, plan):
            return
    except ChopError:
        return  # an output that cannot be scored is told elsewhere
    alone = (QuantPlan.of({name: plan[name]}) for name in plan)
    single = next((one for one in alone if not _agree(graph, runner, x, one)), plan)
    name = next(iter(single))
    operands = ", ".join(single[name])
    yield Finding(name, operands, "measured plan by plan, the network gives other results than as a model", CURE)


def _agree(graph: MaseGraph, runner: PlanRunner, x: Any, plan: QuantPlan) -> bool:
    seed()
    got: Tensor = runner.predictions(plan)
    graph.apply_plan(plan)
    wanted = outputs(graph, x)
    return any(own.shape == got.shape and relative_difference(own, got) <= CLOSE for own in wanted)
