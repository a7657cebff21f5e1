"""Protocols of what a search hands to its runners, and of the tables that they return."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Protocol, runtime_checkable

from torch import Tensor

from chop.evaluation.measures import Scores
from chop.evaluation.walk import Codes
from chop.executors import Jobs
from chop.ir import MaseGraph, QuantPlan
from chop.ir.graph.node_costs import NodeCost

Batches = Iterable[tuple[Tensor, Tensor]]
"""Outputs `(samples, *output)` and targets `(samples, …)`, batch by batch."""


class Plans(Protocol):
    """A batch of configurations of one network; a runner reads what it needs.

    All iterators have one item a configuration, in the same order. What is not asked for is not made.
    """

    @property
    def network(self) -> MaseGraph:
        """The network in float, to be left as it is."""

    @property
    def costs(self) -> Mapping[str, NodeCost]:
        """Size and work of every node of the network, for one sample."""

    def plans(self) -> Iterator[QuantPlan]:
        """The format of every operand."""

    def configs(self) -> Iterator[Mapping[str, Any]]:
        """The same plans as configs, as passes take them."""

    def outputs(self, part: str, samples: int | None) -> Iterator[Batches]:
        """Outputs and targets on the first `samples` of a data set (None: all), batch by batch."""

    def graphs(self) -> Iterator[MaseGraph]:
        """The quantised networks, each built when it is read; a reader may change it."""


class PlanTable(Protocol):
    """The metrics of any points of a product space, without running the network. It is sent to other processes."""

    axes: int

    def scores(self, codes: Codes) -> Scores:
        """The metrics of configurations `(configurations, axes)`; NaN where one has none."""


@runtime_checkable
class PreparedTable(Protocol):
    """A table whose figures rest on slow work, which is done before many of them are asked for."""

    def prepare(self, codes: Codes, jobs: Jobs) -> None:
        """Do what configurations `(configurations, axes)` need, by as many calls at a time as `jobs` says."""


class NetworkCosts(Protocol):
    """A network in float, to be left as it is, and the size and work of its nodes for one sample."""

    @property
    def network(self) -> MaseGraph:
        """The network."""

    @property
    def costs(self) -> Mapping[str, NodeCost]:
        """The costs by node."""
