"""Scores a fixed set of plans of a space while its weights are trained."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from chop.dataset.data import Data
from chop.ir import QuantPlan
from chop.ir.graph.inputs import to_device
from chop.scoring.metric import Metric
from chop.scoring.outputs import with_samples
from chop.training.gradients import formats_of
from chop.training.plan_network import Formats, PlanNetwork
from chop.training.ranges import Ranges


@dataclass(frozen=True)
class ProbeScores:
    """The monitored metric of each probe: the widest plan, the narrowest, then random ones."""

    metric: Metric
    values: tuple[float, ...]

    @property
    def mean(self) -> float:
        """The mean of all probes."""
        return sum(self.values) / len(self.values)

    def is_better(self, other: ProbeScores | None) -> bool:
        """Whether the mean is better than that of others; what is not finite is not."""
        sign = 1.0 if self.metric.direction == "maximize" else -1.0
        if not math.isfinite(self.mean):
            return False
        return other is None or not math.isfinite(other.mean) or sign * self.mean > sign * other.mean

    def as_text(self) -> str:
        """The mean, and the two ends of the space."""
        ends = f" (widest {self.values[0]:.4f}, narrowest {self.values[1]:.4f})" if len(self.values) > 1 else ""
        return f"{self.metric.name} of {len(self.values)} probes {self.mean:.4f}{ends}"


class Probes:
    """Fixed plans, scored on validation samples; batch norms are measured under each plan."""

    def __init__(
        self, network: PlanNetwork, plans: Sequence[QuantPlan], data: Data, samples: int | None, device: str
    ) -> None:
        self.network = network
        self.plans = plans
        self.task = data.task
        self.device = device
        self._batches = [(network.inputs(x), y) for x, y in data.batches("val", samples)]

    @torch.no_grad()
    def score(self, ranges: Ranges) -> ProbeScores:
        """Score all plans with the weights as they are, their ranges measured anew."""
        ranges.refresh_for_search()
        graph = self.network.graph
        was_training = graph.model.training
        graph.model.eval()
        values = tuple(self._score(formats_of(graph.freeze(plan)), ranges.norm_inputs) for plan in self.plans)
        graph.model.train(was_training)
        return ProbeScores(self.task.monitored, values)

    def _score(self, formats: Formats, norm_inputs: Sequence[Any]) -> float:
        if self.network.follows_plan(formats):
            self.network.measure_under_plan(norm_inputs, formats)
        accumulator = self.task.accumulator()
        for inputs, targets in self._batches:
            outputs: Tensor = self.network(to_device(list(inputs), self.device), formats)
            accumulator.update(with_samples(outputs, len(targets)), targets.to(self.device))
        self.network.statistics.batch()
        return accumulator.result()[self.task.monitored.name]
