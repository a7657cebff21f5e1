"""Runs one graph under many plans with gradients, without building a network for each."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, fx

from chop.evaluation.float_values import attribute, outputs_at
from chop.formats import Format
from chop.ir import MaseGraph
from chop.ir.graph.inputs import placeholder_values
from chop.nn.ops import Op
from chop.nn.quantized import call_quantized
from chop.tools.model_outputs import OutputName, predictions_of
from chop.training.norms import (
    FreeNorm,
    FreeNormFunction,
    Moments,
    NormStatistics,
    PooledMoments,
    free_norm,
    running_statistics,
)
from chop.training.shifts import PlanShifts, open_shift

Formats = Mapping[str, Mapping[str, Format]]
"""The formats of each node's operands, with everything measured."""

Weighted = tuple[Sequence[Any], int]
"""The placeholders' values for a batch, and its weight in a mean."""


class _Step:
    """A node and what it calls; what follows from the whole plan is measured by `shifts` and its statistics."""

    def __init__(self, graph: MaseGraph, node: fx.Node, op: Op | None, shifts: PlanShifts) -> None:
        self.node = node
        self.op = op
        self.shifts = shifts
        self.inner = free_norm(graph.inner(node), node.name, shifts.statistics) if node.op.startswith("call") else None
        sources = tuple(arg for arg in node.args if isinstance(arg, fx.Node))
        self._sources = sources if len(sources) == len(node.args) and not node.kwargs else None

    def call(self, formats: Mapping[str, Format] | None, values: dict[fx.Node, Any]) -> Any:
        """The node's result, its operands rounded."""
        args, kwargs = self._arguments(values)
        if not formats or self.op is None:
            return self.inner(*args, **kwargs)  # type: ignore[misc]
        formats = self.shifts.closed(self.node.name, self.inner, self.op, formats, args, kwargs)  # type: ignore[arg-type]
        return call_quantized(self.inner, self.op, formats, args, kwargs)  # type: ignore[arg-type]

    def _arguments(self, values: dict[fx.Node, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        if self._sources is not None:
            return tuple([values[source] for source in self._sources]), {}
        args, kwargs = fx.node.map_arg((self.node.args, dict(self.node.kwargs)), values.__getitem__)
        return tuple(args), dict(kwargs)


class PlanNetwork:
    """The outputs of a graph in float under any plan, with gradients to its parameters.

    Weights and activations are rounded in each call, gradients go straight through. Batch norms normalise by
    `statistics`: by those of the batch, or by those that were recorded; bias corrections that are measured under the
    plan likewise. The graph stays as it is.
    """

    def __init__(self, graph: MaseGraph, output: OutputName = None) -> None:
        self.graph = graph
        self.output = output
        self.statistics = NormStatistics()
        self._shifts = PlanShifts(self.statistics)
        ops = graph.quantizable_nodes()
        self._steps = [_Step(graph, node, ops.get(node.name), self._shifts) for node in graph.nodes]

    def inputs(self, x: Any) -> list[Any]:
        """The values of the graph's placeholders for an input."""
        return placeholder_values(self.graph, x)

    def __call__(self, inputs: Sequence[Any], formats: Formats) -> Tensor:
        """The outputs `(samples, …)` for the values of the placeholders."""
        return self._run(inputs, formats, {})

    def _run(self, inputs: Sequence[Any], formats: Formats, values: dict[fx.Node, Any]) -> Tensor:
        remaining = iter(inputs)
        for step in self._steps:
            node = step.node
            if node.op == "placeholder":
                values[node] = next(remaining)
            elif node.op == "get_attr":
                values[node] = attribute(self.graph.model, str(node.target))
            elif node.op == "output":
                return predictions_of(outputs_at(self.graph, node, values), self.output)
            else:
                values[node] = step.call(formats.get(node.name), values)
        raise AssertionError("a graph ends in an output node")

    @property
    def has_norms(self) -> bool:
        """Whether the graph has batch norms."""
        return any(isinstance(step.inner, FreeNorm | FreeNormFunction) for step in self._steps)

    def follows_plan(self, formats: Formats) -> bool:
        """Whether something is to be measured under the whole plan: batch norms, or bias corrections."""
        return self.has_norms or has_shifts(formats)

    @torch.no_grad()
    def restore_means_of(self, inputs: Sequence[Any]) -> None:
        """Keep what the float network makes of a batch: bias corrections restore its means from now on."""
        values: dict[fx.Node, Any] = {}
        self._shifts.in_float.clear()
        self._run(inputs, {}, values)
        self._shifts.in_float = {node.name: own for node, own in values.items() if isinstance(own, Tensor)}

    @torch.no_grad()
    def measure_in_float(self, batches: Iterable[Weighted]) -> Mapping[str, Moments]:
        """Measure and keep the statistics of batch norms in the float network, of all batches together.

        Each batch is normalised by its own (Wu and Johnson, arXiv:2105.07576, section 3).
        """
        pool = PooledMoments()
        self.statistics.in_float.clear()
        for inputs, weight in batches:
            self.measure_under_plan(inputs, {})
            pool.add(self.statistics.kept, weight)
        self.statistics.kept = pool.moments()
        self.statistics.batch()
        return self.statistics.kept

    @torch.no_grad()
    def refer_to_float(self, inputs: Sequence[Any]) -> None:
        """Correct statistics that are recorded from now on by those of the float network on some samples.

        Call `measure_in_float` first.
        """
        for name in self.statistics.kept:
            running = running_statistics(self.graph, self.graph.node(name))
            self.statistics.kept[name] = running or self.statistics.kept[name]
        self.statistics.refer()
        self(inputs, {})
        self.statistics.batch()

    @torch.no_grad()
    def measure_under_plan(self, inputs: Sequence[Any], formats: Formats) -> None:
        """Record the statistics of batch norms, and bias corrections, on some samples, layer after layer."""
        self.statistics.record()
        self(inputs, formats)
        self.statistics.use()


def has_shifts(formats: Formats) -> bool:
    """Whether a plan has bias corrections that are measured under it."""
    return any(open_shift(own) is not None for own in formats.values())
