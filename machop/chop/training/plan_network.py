"""Runs one graph under many plans with gradients, without building a network for each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
from chop.training.norms import FreeNorm, FreeNormFunction, NormStatistics, free_norm

Formats = Mapping[str, Mapping[str, Format]]
"""The formats of each node's operands, with everything measured."""


class _Step:
    """A node and what it calls; a batch norm takes its mean and variance from `statistics`."""

    def __init__(self, graph: MaseGraph, node: fx.Node, op: Op | None, statistics: NormStatistics) -> None:
        self.node = node
        self.op = op
        self.inner = free_norm(graph.inner(node), node.name, statistics) if node.op.startswith("call") else None
        sources = tuple(arg for arg in node.args if isinstance(arg, fx.Node))
        self._sources = sources if len(sources) == len(node.args) and not node.kwargs else None

    def call(self, formats: Mapping[str, Format] | None, values: dict[fx.Node, Any]) -> Any:
        """The node's result, its operands rounded."""
        args, kwargs = self._arguments(values)
        if not formats or self.op is None:
            return self.inner(*args, **kwargs)  # type: ignore[misc]
        return call_quantized(self.inner, self.op, formats, args, kwargs)  # type: ignore[arg-type]

    def _arguments(self, values: dict[fx.Node, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        if self._sources is not None:
            return tuple([values[source] for source in self._sources]), {}
        args, kwargs = fx.node.map_arg((self.node.args, dict(self.node.kwargs)), values.__getitem__)
        return tuple(args), dict(kwargs)


class PlanNetwork:
    """The outputs of a graph in float under any plan, with gradients to its parameters.

    Weights and activations are rounded in each call, gradients go straight through. Batch norms normalise by
    `statistics`: by those of the batch, or by those that were recorded. The graph stays as it is.
    """

    def __init__(self, graph: MaseGraph, output: OutputName = None) -> None:
        self.graph = graph
        self.output = output
        self.statistics = NormStatistics()
        ops = graph.quantizable_nodes()
        self._steps = [_Step(graph, node, ops.get(node.name), self.statistics) for node in graph.nodes]

    def inputs(self, x: Any) -> list[Any]:
        """The values of the graph's placeholders for an input."""
        return placeholder_values(self.graph, x)

    def __call__(self, inputs: Sequence[Any], formats: Formats) -> Tensor:
        """The outputs `(samples, …)` for the values of the placeholders."""
        remaining = iter(inputs)
        values: dict[fx.Node, Any] = {}
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

    @torch.no_grad()
    def measure_norms(self, inputs: Sequence[Any], formats: Formats) -> None:
        """Record the statistics of every batch norm on some samples under a plan, layer after layer."""
        self.statistics.record()
        self(inputs, formats)
        self.statistics.use()
