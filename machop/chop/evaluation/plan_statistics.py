"""Measures what follows from a whole plan (statistics of batch norms), plan by plan, for all runners of one graph."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

import torch

from chop.dataset.rows import count_rows
from chop.ir import MaseGraph, QuantPlan
from chop.ir.calibration import Calibration
from chop.ir.graph.plan_statistics import calibration_inputs

if TYPE_CHECKING:
    from chop.evaluation.plan_runner import PlanRunner

MOST_KEPT = 256
"""Plans whose statistics are kept: early stopping measures a plan on one part of the samples after the other."""


class PlanStatistics:
    """Runs the calibration samples of a graph under plans, and keeps what was found for the last ones."""

    def __init__(self, graph: MaseGraph, plan: QuantPlan, device: str) -> None:
        from chop.evaluation.plan_runner import PlanRunner

        x = calibration_inputs(graph, plan)
        self.calibration: Calibration = graph.calibration
        self.device = device
        self._runner: PlanRunner = PlanRunner(graph, [(x, torch.zeros(count_rows(x)))], device, measures=True)
        self._known: OrderedDict[QuantPlan, QuantPlan] = OrderedDict()

    def closed(self, plan: QuantPlan) -> QuantPlan:
        """The plan with everything open measured."""
        if plan not in self._known:
            self._known[plan] = self._runner.measured(plan)
            if len(self._known) > MOST_KEPT:
                self._known.popitem(last=False)
        return self._known[plan]


_OF_GRAPHS: WeakKeyDictionary[MaseGraph, PlanStatistics] = WeakKeyDictionary()


def with_statistics(graph: MaseGraph, plan: QuantPlan, device: str) -> QuantPlan:
    """A frozen plan with everything open measured on the graph's calibration samples; as it is where nothing is open.

    Raises GraphError where there are no such samples.
    """
    if not plan.is_open:
        return plan
    known = _OF_GRAPHS.get(graph)
    if known is None or known.calibration is not graph.calibration or known.device != device:
        known = _OF_GRAPHS[graph] = PlanStatistics(graph, plan, device)
    return known.closed(plan)
