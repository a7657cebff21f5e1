"""The network that a search measures, with its search space, its data and its device."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Any

from torch import Tensor

from chop.actions.search.measuring.cached_costs import CachedCosts
from chop.actions.search.search_space.base import SampledConfig, SearchSpaceBase
from chop.dataset.data import Data
from chop.evaluation.evaluator import Evaluator
from chop.evaluation.plan_runner import PlanRunner
from chop.evaluation.predictions import stream
from chop.evaluation.program import Axis
from chop.ir import MaseGraph
from chop.ir.graph.node_costs import NodeCost

Samples = tuple[str, int | None]
"""A part of the data, and how many of its samples from the first; None: all."""


class Subject:
    """A network, its search space, the data and the device; runs of the network are shared by all runners.

    `eval_mode`: the network is measured as in evaluation; `memory`, in bytes, is for batched evaluation.
    """

    def __init__(
        self,
        space: SearchSpaceBase,
        graph: MaseGraph,
        data_module: Data,
        eval_mode: bool = True,
        device: str = "cpu",
        memory: int = 2**30,
    ) -> None:
        self.space = space
        self.graph = graph
        self.data_module = data_module
        self.eval_mode = eval_mode
        self.device = device
        self.memory = memory
        self.work = CachedCosts(graph, data_module)
        self._plan_runners: dict[Samples, PlanRunner] = {}
        self._evaluators: dict[Samples, Evaluator] = {}

    def __getstate__(self) -> dict[str, Any]:
        """The state for another process, without cached values."""
        made = {name for name, value in vars(type(self)).items() if isinstance(value, cached_property)}
        kept = {name: value for name, value in self.__dict__.items() if name not in made}
        return {**kept, "work": None, "_plan_runners": {}, "_evaluators": {}}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self.work = CachedCosts(self.graph, self.data_module)

    @cached_property
    def axes(self) -> list[Axis] | None:
        """The axes of a product space whose points can be measured in batches; else None."""
        return self.space.axes() if self.eval_mode else None

    @property
    def costs(self) -> Mapping[str, NodeCost]:
        """Size and work of every node, for one sample."""
        return self.work.costs

    @property
    def has_evaluators(self) -> bool:
        """Whether points were measured in batches, so that float sums may have had another order."""
        return bool(self._evaluators)

    def plan_runner(self, samples: Samples) -> PlanRunner:
        """A runner of one plan after the other on some samples."""
        if samples not in self._plan_runners:
            batches = self.data_module.batches(*samples)
            self._plan_runners[samples] = PlanRunner(self.graph, batches, self.device, self.data_module.output)
        return self._plan_runners[samples]

    def evaluator(self, samples: Samples) -> Evaluator:
        """The batched evaluator on some samples; raises GraphError if it cannot run the model."""
        assert self.axes is not None
        if samples not in self._evaluators:
            batches = self.data_module.batches(*samples)
            self._evaluators[samples] = Evaluator(
                self.graph, self.axes, batches, self.device, self.memory // 2, self.data_module.output
            )
        return self._evaluators[samples]

    def rebuild(self, sampled_config: SampledConfig) -> MaseGraph:
        """The network of a config as a graph of its own."""
        graph = self.space.rebuild_model(sampled_config, self.eval_mode)
        graph.model.to(self.device)
        return graph

    def stream(self, graph: MaseGraph, samples: Samples) -> Iterator[tuple[Tensor, Tensor]]:
        """The outputs of a built network on some samples, and the targets, batch by batch."""
        batches = self.data_module.batches(*samples)
        return stream(graph.model, batches, self.device, self.data_module.output)
