"""What each node of a graph holds and does for one sample: shapes and multiply-accumulates, measured by running it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

import torch
from torch import Tensor, fx, nn

from chop.dataset.rows import cut
from chop.errors import GraphError, first_line
from chop.ir.graph.inputs import placeholder_values
from chop.ir.graph.mase_graph import MaseGraph
from chop.nn.ops import Op, Shape

_BATCHES = (2, 3)
"""Two batch sizes: what differs between them belongs to a sample, what does not is shared by all."""


@dataclass(frozen=True)
class TensorCost:
    """A tensor that a node reads or writes for one sample: its operand, its shape, whether it is a parameter."""

    operand: str
    shape: Shape
    is_parameter: bool = False

    @property
    def elements(self) -> int:
        """Number of values."""
        return prod(self.shape)


@dataclass(frozen=True)
class NodeCost:
    """One op node: its inputs, weights and results for one sample, and its multiply-accumulates."""

    name: str
    op: Op
    tensors: tuple[TensorCost, ...]
    macs: int

    def of(self, operand: str) -> tuple[TensorCost, ...]:
        """The tensors of one operand (two for the inputs of an addition)."""
        return tuple(tensor for tensor in self.tensors if tensor.operand == operand)


def node_costs(graph: MaseGraph, x: Any) -> dict[str, NodeCost]:
    """The costs of every node in the op table, for one sample, in the order of execution.

    `x` is a batch of at least three rows, as the model takes it. Formats play no part.

    Raises GraphError for a model that takes no batches of two and three rows.
    """
    small, large = (_record(graph, cut(x, 0, rows)) for rows in _BATCHES)
    return {name: _difference(graph, large[name], small[name]) for name in large}


@dataclass(frozen=True)
class _Record:
    node: fx.Node
    op: Op
    shapes: tuple[tuple[str, Shape, bool], ...]

    @property
    def macs(self) -> int:
        if self.op.macs is None:
            return 0
        shapes: dict[str, list[Shape]] = {}
        for operand, shape, _ in self.shapes:
            shapes.setdefault(operand, []).append(shape)
        return self.op.macs(shapes)


class _Recorder(fx.Interpreter):
    """Runs the graph in float and notes the shapes of every op node."""

    def __init__(self, graph: MaseGraph) -> None:
        super().__init__(graph.model)
        self.mase_graph = graph
        self.records: dict[str, _Record] = {}

    def run_node(self, n: fx.Node) -> Any:
        result = super().run_node(n)
        op = self.mase_graph.op(n)
        if op is not None and isinstance(result, Tensor):
            args, kwargs = self.fetch_args_kwargs_from_env(n)
            shapes = [
                *_operand_shapes(self.mase_graph, n, op, args, kwargs),
                ("data_out", tuple(result.shape), False),
            ]
            self.records[n.name] = _Record(n, op, tuple(shapes))
        return result


def _record(graph: MaseGraph, x: Any) -> dict[str, _Record]:
    recorder = _Recorder(graph)
    try:
        with torch.no_grad():
            recorder.run(*placeholder_values(graph, x))
    except Exception as error:
        raise GraphError(
            f"the model does not run on a batch of {_BATCHES[0]} or {_BATCHES[1]} rows "
            f"({first_line(error)}); costs per sample need a model that takes any batch size"
        ) from error
    return recorder.records


def _operand_shapes(
    graph: MaseGraph, node: fx.Node, op: Op, args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> list[tuple[str, Shape, bool]]:
    inner = graph.inner(node)
    slots = [(operand, arg, False) for operand, group in op.args.items() for arg in group]
    if isinstance(inner, nn.Module):
        parameters = [(name, getattr(inner, name, None)) for name in ("weight", "bias")]
    else:
        parameters = []
        slots += [(operand, arg, True) for operand, arg in op.params.items()]
    found = [(name, tuple(value.shape), True) for name, value in parameters if isinstance(value, Tensor)]
    for operand, arg, is_parameter in slots:
        value = args[arg.index] if arg.index < len(args) else _keyword(arg.keywords, kwargs)
        if isinstance(value, Tensor):
            found.append((operand, tuple(value.shape), is_parameter))
    return found


def _keyword(names: tuple[str, ...], kwargs: Mapping[str, Any]) -> Any:
    return next((kwargs[name] for name in names if name in kwargs), None)


def _difference(graph: MaseGraph, large: _Record, small: _Record) -> NodeCost:
    tensors = tuple(
        TensorCost(operand, _per_sample(shape, other), is_parameter)
        for (operand, shape, is_parameter), (_, other, _) in zip(large.shapes, small.shapes, strict=True)
    )
    return NodeCost(large.node.name, large.op, tensors, large.macs - small.macs)


def _per_sample(large: Shape, small: Shape) -> Shape:
    """One sample's share of a tensor: the dimension that grows with the batch, less its growth.

    >>> _per_sample((3, 16), (2, 16))
    (1, 16)
    """
    return tuple(a - b if a != b else a for a, b in zip(large, small, strict=True))
