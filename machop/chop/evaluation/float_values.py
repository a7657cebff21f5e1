"""Computes the values of all nodes in float32, and which of them have one row per sample."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, fx, nn

from chop.dataset.rows import count_rows, cut
from chop.ir import MaseGraph
from chop.ir.graph.inputs import placeholder_values
from chop.nn.own_tensors import require_unwritten, stamps


@torch.no_grad()
def float_values(graph: MaseGraph, x: Any) -> dict[fx.Node, Any]:
    """The values of all nodes in float32; raises GraphError if the run writes on the model's tensors."""
    inputs = iter(placeholder_values(graph, x))
    before = stamps(graph.model)
    values: dict[fx.Node, Any] = {}
    for node in graph.nodes:
        if node.op == "placeholder":
            values[node] = next(inputs)
        elif node.op == "get_attr":
            values[node] = attribute(graph.model, str(node.target))
        elif node.op != "output":
            args, kwargs = fx.node.map_arg((node.args, dict(node.kwargs)), values.__getitem__)
            values[node] = graph.inner(node)(*args, **kwargs)
    require_unwritten(graph.model, before)
    return values


def outputs_at(graph: MaseGraph, node: fx.Node, values: Mapping[fx.Node, Any]) -> Any:
    """The output of the model at the graph's output `node`, from the values of all nodes.

    An exported graph knows names and nesting of its outputs beside its nodes.
    """
    return graph.fx_graph.process_outputs(fx.node.map_arg(node.args[0], values.__getitem__))


def nodes_with_rows(graph: MaseGraph, x: Any, seen: Mapping[fx.Node, Any]) -> set[fx.Node]:
    """The nodes whose value has one row per sample: it grows with the batch.

    A model that takes no other batch tells nothing; of that the nodes count that come from its inputs and have as many.
    """
    rows = batch_rows(x)
    large = min(rows, 3)
    try:
        found = [(n, float_values(graph, cut(x, 0, n))) for n in (large - 1, large)] if rows > 1 else []
    except Exception:  # of a model's own code, on a batch that is not its own
        found = []
    if found:
        return {node for node in seen if all(_rows_of(values[node]) == n for n, values in found)}
    moving: set[fx.Node] = set()
    for node in graph.nodes:
        if node.op == "placeholder" or any(source in moving for source in node.all_input_nodes):
            moving.add(node)
    return {node for node in moving if node in seen and _rows_of(seen[node]) == rows}


def _rows_of(value: Any) -> int | None:
    return len(value) if isinstance(value, Tensor) and value.ndim else None


def is_attribute(argument: Any) -> bool:
    """Whether an argument of a call is a tensor of the model itself, not a computed one."""
    return isinstance(argument, fx.Node) and argument.op == "get_attr"


def attribute(model: nn.Module, path: str) -> Any:
    """The attribute at a dotted path below a model."""
    value: Any = model
    for part in path.split("."):
        value = getattr(value, part)
    return value


def batch_rows(x: Any) -> int:
    """The number of samples of a batch."""
    return count_rows(x)
