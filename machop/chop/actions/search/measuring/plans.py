"""Implements `Plans`, the batch of configurations that a runner measures: run plan by plan, or one built network."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property

from torch import Tensor

from chop.actions.search.measuring.cached_costs import CachedCosts
from chop.actions.search.measuring.subject import Subject
from chop.actions.search.search_space.base import SampledConfig
from chop.actions.search.search_space.trained_networks import has_own_network
from chop.actions.search.strategies.runners.base import drawn_alike
from chop.actions.search.strategies.runners.protocols import Batches, Plans
from chop.dataset.data import Data
from chop.evaluation.plan_runner import PlanRunner
from chop.evaluation.predictions import stream
from chop.ir import MaseGraph, QuantPlan
from chop.ir.graph.node_costs import NodeCost


class _PlansOfSubject(Plans):
    """The parts that all batches of one subject share: its network in float, and the costs of its nodes."""

    def __init__(self, subject: Subject) -> None:
        self._subject = subject

    @property
    def network(self) -> MaseGraph:
        return self._subject.graph

    @property
    def costs(self) -> Mapping[str, NodeCost]:
        return self._subject.costs


class ChosenPlans(_PlansOfSubject):
    """Configurations as plans and configs; in training mode each network is built."""

    def __init__(self, subject: Subject, chosen: Sequence[tuple[QuantPlan, SampledConfig]]) -> None:
        super().__init__(subject)
        self._chosen = chosen

    def plans(self) -> Iterator[QuantPlan]:
        return (plan for plan, _ in self._chosen)

    def configs(self) -> Iterator[SampledConfig]:
        return (config for _, config in self._chosen)

    def outputs(self, part: str, samples: int | None) -> Iterator[Batches]:
        for plan, config in self._chosen:
            if self._subject.eval_mode:
                yield self._subject.plan_runner((part, samples)).stream(plan)
            else:
                yield _streamed(self._subject, self._subject.rebuild(config), part, samples)

    def graphs(self) -> Iterator[MaseGraph]:
        return (self._subject.rebuild(config) for _, config in self._chosen)


class BuiltNetwork(_PlansOfSubject):
    """One network built as a graph of its own: the reference for all other ways to measure."""

    def __init__(self, subject: Subject, graph: MaseGraph, config: SampledConfig) -> None:
        super().__init__(subject)
        self._graph = graph
        self._config = config

    @cached_property
    def network(self) -> MaseGraph:
        return _in_float(self._graph) if has_own_network(self._config) else self._subject.graph

    def plans(self) -> Iterator[QuantPlan]:
        yield self._graph.plan

    def configs(self) -> Iterator[SampledConfig]:
        yield self._config

    def outputs(self, part: str, samples: int | None) -> Iterator[Batches]:
        yield _streamed(self._subject, self._graph, part, samples)

    def graphs(self) -> Iterator[MaseGraph]:
        yield self._graph


class OwnNetwork(_PlansOfSubject):
    """One network with weights of its own, run plan by plan; in training mode it is built."""

    def __init__(self, subject: Subject, config: SampledConfig) -> None:
        super().__init__(subject)
        self._config = config
        self._graph = subject.rebuild(config)

    @cached_property
    def network(self) -> MaseGraph:
        return _in_float(self._graph)

    def plans(self) -> Iterator[QuantPlan]:
        yield self._graph.plan

    def configs(self) -> Iterator[SampledConfig]:
        yield self._config

    def outputs(self, part: str, samples: int | None) -> Iterator[Batches]:
        subject = self._subject
        if subject.eval_mode:
            batches = subject.data_module.batches(part, samples)
            runner = PlanRunner(self.network, batches, subject.device, subject.data_module.output)
            yield runner.stream(self._graph.plan)
        else:
            yield _streamed(subject, subject.rebuild(self._config), part, samples)

    def graphs(self) -> Iterator[MaseGraph]:
        yield self._subject.rebuild(self._config)


class LoadedNetwork(Plans):
    """One network with weights and formats of its own, outside a search: that of a saved file."""

    def __init__(self, graph: MaseGraph, data: Data, config: SampledConfig) -> None:
        self._graph = graph
        self._data = data
        self._config = config

    @cached_property
    def network(self) -> MaseGraph:
        return _in_float(self._graph)

    @cached_property
    def costs(self) -> Mapping[str, NodeCost]:
        return CachedCosts(self.network, self._data).costs

    def plans(self) -> Iterator[QuantPlan]:
        yield self._graph.plan

    def configs(self) -> Iterator[SampledConfig]:
        yield self._config

    def outputs(self, part: str, samples: int | None) -> Iterator[Batches]:
        batches = self._data.batches(part, samples)
        yield PlanRunner(self.network, batches, output=self._data.output).stream(self._graph.plan)

    def graphs(self) -> Iterator[MaseGraph]:
        yield copy.deepcopy(self._graph)


class TunedGraph(LoadedNetwork):
    """One tuned network, on a device: its outputs are those of the built model, as `basic_train` reads them."""

    def __init__(self, graph: MaseGraph, data: Data, config: SampledConfig, device: str = "cpu") -> None:
        super().__init__(graph, data, config)
        self._device = device

    def outputs(self, part: str, samples: int | None) -> Iterator[Batches]:
        yield self._streamed(part, samples)

    def _streamed(self, part: str, samples: int | None) -> Iterator[tuple[Tensor, Tensor]]:
        data = self._data
        with drawn_alike():
            yield from stream(self._graph.model, data.batches(part, samples), self._device, data.output)


def plans_of(subject: Subject, plan: QuantPlan, config: SampledConfig) -> Plans:
    """The batch of one configuration: the network that the subject shares, or one with weights of its own."""
    return OwnNetwork(subject, config) if has_own_network(config) else ChosenPlans(subject, [(plan, config)])


def _in_float(graph: MaseGraph) -> MaseGraph:
    """A copy of a graph without its formats."""
    plain = copy.deepcopy(graph)
    plain.apply_plan(QuantPlan())
    return plain


def _streamed(subject: Subject, graph: MaseGraph, part: str, samples: int | None) -> Iterator[tuple[Tensor, Tensor]]:
    with drawn_alike():
        yield from subject.stream(graph, (part, samples))
