"""Implements `Plans`, the batch of configurations that a runner measures: run plan by plan, or one built network."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from torch import Tensor

from chop.actions.search.measuring.subject import Subject
from chop.actions.search.search_space.base import SampledConfig
from chop.actions.search.strategies.runners.base import Batches, drawn_alike
from chop.ir import MaseGraph, QuantPlan
from chop.ir.graph.node_costs import NodeCost


class _PlansOfSubject:
    """What all batches of one subject share: its network in float, and the costs of its nodes."""

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

    def plans(self) -> Iterator[QuantPlan]:
        yield self._graph.plan

    def configs(self) -> Iterator[SampledConfig]:
        yield self._config

    def outputs(self, part: str, samples: int | None) -> Iterator[Batches]:
        yield _streamed(self._subject, self._graph, part, samples)

    def graphs(self) -> Iterator[MaseGraph]:
        yield self._graph


def _streamed(subject: Subject, graph: MaseGraph, part: str, samples: int | None) -> Iterator[tuple[Tensor, Tensor]]:
    with drawn_alike():
        yield from subject.stream(graph, (part, samples))
