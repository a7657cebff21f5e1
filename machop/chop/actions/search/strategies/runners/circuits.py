"""Runners of costs as circuits have them: EBOPs by exact ranges."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from torch import nn

from chop.actions.search.strategies.runners.base import (
    RUNNERS,
    NetworkCosts,
    Plans,
    TableRunner,
    as_columns,
    calibrated_graph,
)
from chop.circuits.ebops import STAGE_BITS, ebops_of, stage_bits
from chop.circuits.from_graph import network_of_plan
from chop.circuits.network import IntegerNetwork
from chop.circuits.network_costs import StageCosts, network_costs
from chop.circuits.plan_costs import PlanCosts
from chop.circuits.steps import steps_of
from chop.dataset.data import Data, first_batch
from chop.errors import CircuitError, MetricError
from chop.evaluation.measures import Scores
from chop.evaluation.program import Axis
from chop.evaluation.walk import Codes
from chop.ir import MaseGraph, QuantPlan
from chop.passes.graph.transforms.quantize import plan_from_config
from chop.scoring.metric import Metric


@dataclass
class CircuitTable:
    """The metrics of circuits, for any configurations of a product space."""

    costs: PlanCosts
    runner: CircuitRunner
    axes: int

    def scores(self, codes: Codes) -> Scores:
        """The metrics of configurations `(configurations, axes)`; NaN where one has no circuit."""
        return self.runner.metrics_from(self.costs.sums(codes))


class CircuitRunner(TableRunner):
    """Metrics that are sums over the stages of the integer network; a plan without one has none, nor has FP32."""

    measures_float = False

    @property
    def stage_costs(self) -> StageCosts:
        """The costs of a stage, `width` numbers."""
        raise NotImplementedError

    width: int

    def metrics_from(self, sums: NDArray[np.float64]) -> Scores:
        """The metrics from sums `(…, width)`."""
        raise NotImplementedError

    def table(self, subject: NetworkCosts, axes: Sequence[Axis]) -> CircuitTable:
        steps = steps_of(subject.network, self._example, axes)
        without_data = copy.copy(self)
        without_data.data_module = cast(Data, None)  # which no process need be sent
        return CircuitTable(PlanCosts(steps, self.stage_costs, self.width), without_data, len(axes))

    def measure_batch(self, plans: Plans) -> Scores:
        return as_columns([self._total(plans.network, plan) for plan in plans.plans()])

    def _total(self, graph: MaseGraph, plan: QuantPlan) -> dict[str, float]:
        sums = network_costs(self._network(graph, plan), self.stage_costs, self.width)
        return {name: float(value) for name, value in self.metrics_from(sums).items()}

    def _network(self, graph: MaseGraph, plan: QuantPlan) -> IntegerNetwork:
        try:
            return network_of_plan(graph, graph.freeze(plan), self._example)
        except CircuitError as error:
            raise MetricError(str(error)) from error

    @property
    def _example(self) -> Any:
        return first_batch(self.data_module, "val_dataloader", 3, 3)[0]

    def __call__(
        self, data_module: Data, model: MaseGraph | nn.Module, sampled_config: Mapping[str, Any]
    ) -> dict[str, float]:
        graph = calibrated_graph(model, sampled_config, data_module)
        return self._total(graph, plan_from_config(graph, sampled_config))


@RUNNERS.register("ebops")
class Ebops(CircuitRunner):
    """Effective bit operations of one sample (arXiv:2405.00645, as HGQ2 counts them): bits x bits that matter.

    A product counts the bits of its activation, by the exact range of what reaches the layer, times the bits of the
    weight from its highest to its lowest non-zero bit; what no path uses counts nothing. `ebops_nominal` takes the
    widths of the activations' formats instead. All layers need integer formats, biases too.
    """

    width = STAGE_BITS

    @classmethod
    def metrics_of(cls, data_module: Data | None) -> tuple[Metric, ...]:
        return (
            Metric("ebops", "EBOP/sample", "minimize", (0.0, inf)),
            Metric("ebops_nominal", "EBOP/sample", "minimize", (0.0, inf)),
        )

    @property
    def stage_costs(self) -> StageCosts:
        return stage_bits

    def metrics_from(self, sums: NDArray[np.float64]) -> Scores:
        return ebops_of(sums)
