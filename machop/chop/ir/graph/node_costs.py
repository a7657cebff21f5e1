"""What each node of a graph holds and does for one sample: shapes and multiply-accumulates, measured by running it."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.utils.flop_counter import FlopCounterMode

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
    """One node: its inputs, weights and results for one sample, and its multiply-accumulates.

    Of a node outside the op table, which stays in float, only the parameters are known; its `op` holds but a name.
    """

    name: str
    op: Op
    tensors: tuple[TensorCost, ...]
    macs: int

    def of(self, operand: str) -> tuple[TensorCost, ...]:
        """The tensors of one operand (two for the inputs of an addition)."""
        return tuple(tensor for tensor in self.tensors if tensor.operand == operand)


def node_costs(graph: MaseGraph, x: Any) -> dict[str, NodeCost]:
    """The costs of every node in the op table, for one sample, in the order of execution, and of every other node that
    has parameters or multiplies matrices, by the count of `torch.utils.flop_counter`.

    `x` is a batch of at least three rows, as the model takes it. Formats play no part. Parameters that several nodes
    read count for each of them, as each may have a format of its own.

    Raises GraphError for a model that takes no batches of two and three rows.
    """
    small, large = (_record(graph, cut(x, 0, rows)) for rows in _BATCHES)
    return {name: _difference(graph, large[name], small[name]) for name in large}


@dataclass(frozen=True)
class _Record:
    node: fx.Node
    op: Op
    shapes: tuple[tuple[str, Shape, bool], ...]
    macs: int


class _Recorder(fx.Interpreter):
    """Runs the graph in float and notes the shapes of every op node, and what other nodes have of parameters."""

    def __init__(self, graph: MaseGraph) -> None:
        super().__init__(graph.model)
        self.mase_graph = graph
        self.parameters = _parameter_nodes(graph)
        self.records: dict[str, _Record] = {}

    def run_node(self, n: fx.Node) -> Any:
        op = self.mase_graph.op(n)
        if op is None:
            return self._run_other(n)
        result = super().run_node(n)
        if isinstance(result, Tensor):
            args, kwargs = self.fetch_args_kwargs_from_env(n)
            counted = (
                set() if n in self.parameters else self.parameters
            )  # what is made of parameters alone counts later
            shapes = [
                *_operand_shapes(self.mase_graph, n, op, args, kwargs, counted),
                ("data_out", tuple(result.shape), False),
            ]
            self.records[n.name] = _Record(n, op, tuple(shapes), _macs(op, shapes))
        return result

    def _run_other(self, n: fx.Node) -> Any:
        """Run a node outside the op table."""
        if n.op not in ("call_module", "call_function", "call_method") or n in self.parameters:
            return super().run_node(n)
        with _counted() as counter:
            result = super().run_node(n)
        shapes = [("weight", tuple(value.shape), True) for value in self._parameters_of(n)]
        if shapes or counter.get_total_flops():
            self.records[n.name] = _Record(
                n, Op(_name_of(n, self.mase_graph), quantizable=False), tuple(shapes), counter.get_total_flops() // 2
            )
        return result

    def _parameters_of(self, n: fx.Node) -> list[Tensor]:
        """The parameters that a node outside the op table has, or is given."""
        given = [self.env[source] for source in n.all_input_nodes if source in self.parameters]
        owned = self.mase_graph.inner(n).parameters() if n.op == "call_module" else ()
        return [value for value in [*owned, *given] if isinstance(value, Tensor)]


def _parameter_nodes(graph: MaseGraph) -> set[fx.Node]:
    """The nodes that give parameters, or what follows from them alone (a transpose)."""
    known = dict(graph.model.named_parameters(remove_duplicate=False))
    constant: set[fx.Node] = set()
    found: set[fx.Node] = set()
    for node in graph.model.graph.nodes:
        sources = node.all_input_nodes
        if node.op == "get_attr":
            constant.add(node)
            found |= {node} if node.target in known else set()
        elif node.op != "output" and sources and constant.issuperset(sources):
            constant.add(node)
            found |= {node} if found.intersection(sources) else set()
    return found


@contextmanager
def _counted() -> Iterator[FlopCounterMode]:
    """Count what multiplies matrices; kernels that hide it (of attention, of recurrent layers) are not used."""
    has_fastpath = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the flags of oneDNN speak of devices that are not there
            with torch.backends.mkldnn.flags(enabled=False), FlopCounterMode(display=False) as counter:
                yield counter
    finally:
        torch.backends.mha.set_fastpath_enabled(has_fastpath)


def _macs(op: Op, shapes: list[tuple[str, Shape, bool]]) -> int:
    if op.macs is None:
        return 0
    by_operand: dict[str, list[Shape]] = {}
    for operand, shape, _ in shapes:
        by_operand.setdefault(operand, []).append(shape)
    return op.macs(by_operand)


def _name_of(node: fx.Node, graph: MaseGraph) -> str:
    """What a node outside the op table calls, in a word."""
    if node.op == "call_module":
        return type(graph.inner(node)).__name__
    return str(getattr(node.target, "__name__", node.target))


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
    graph: MaseGraph,
    node: fx.Node,
    op: Op,
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
    parameter_nodes: set[fx.Node],
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
            source = node.args[arg.index] if arg.index < len(node.args) else _keyword(arg.keywords, node.kwargs)
            found.append((operand, tuple(value.shape), is_parameter or source in parameter_nodes))
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
