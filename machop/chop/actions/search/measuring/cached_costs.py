"""Caches the costs of all nodes for one sample, which `ir/graph/node_costs.py` counts; sums MACs by axis."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property

from chop.dataset.data import Data, first_batch
from chop.errors import GraphError
from chop.evaluation.program import Axis
from chop.ir import MaseGraph
from chop.ir.graph.node_costs import NodeCost, node_costs


class CachedCosts:
    """The costs of the nodes of a graph for one sample; counted when they are first read.

    A model that takes batches of one size only has no costs of one sample: its MACs count as zero.
    """

    def __init__(self, graph: MaseGraph, data_module: Data) -> None:
        self._graph = graph
        self._data_module = data_module

    @cached_property
    def costs(self) -> dict[str, NodeCost]:
        """Costs by node; raises GraphError for a model that takes batches of one size only."""
        x, _ = first_batch(self._data_module, "val_dataloader", 3, 3)
        return node_costs(self._graph, x)

    @cached_property
    def _macs(self) -> dict[str, int]:
        try:
            return {name: cost.macs for name, cost in self.costs.items()}
        except GraphError:
            return {}

    @property
    def macs(self) -> int:
        """MACs of all nodes."""
        return sum(self._macs.values())

    def macs_run(self, samples: Mapping[str, int]) -> int:
        """MACs of nodes that were computed on so many samples each."""
        return sum(own * samples.get(name, 0) for name, own in self._macs.items())

    def macs_of(self, axes: Sequence[Axis]) -> list[int]:
        """MACs of the nodes of each axis; those of all other nodes count with the last axis."""
        axis_of = {node: number for number, axis in enumerate(axes) for alternative in axis for node in alternative}
        macs = [0] * len(axes)
        for name, own in self._macs.items():
            macs[axis_of.get(name, -1)] += own
        return macs
