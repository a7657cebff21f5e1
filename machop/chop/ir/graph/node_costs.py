"""What each node of a graph holds and does for one sample: shapes and multiply-accumulates, measured by running it."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from math import prod
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from chop.dataset.rows import cut
from chop.errors import GraphError, first_line
from chop.ir.graph.inputs import placeholder_values
from chop.ir.graph.mase_graph import MaseGraph
from chop.nn.ops import Op, Shape

OTHER_PARAMETERS = "other parameters"
MOST_NAMED = 3
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

    Of a node outside the op table, which stays in float, only the multiply-accumulates are known; its `op` holds but a
    name. The parameters that no op node reads make a cost of their own (`OTHER_PARAMETERS`).
    """

    name: str
    op: Op
    tensors: tuple[TensorCost, ...]
    macs: int

    def of(self, operand: str) -> tuple[TensorCost, ...]:
        """The tensors of one operand (two for the inputs of an addition)."""
        return tuple(tensor for tensor in self.tensors if tensor.operand == operand)


def node_costs(graph: MaseGraph, x: Any) -> dict[str, NodeCost]:
    """The costs of every node in the op table, for one sample, in the order of execution, of every other node that
    multiplies matrices, by the count of `torch.utils.flop_counter`, and of all other parameters.

    `x` is a batch of at least three rows, as the model takes it. Formats play no part. Parameters that several op nodes
    read count for each of them, as each may have a format of its own.

    Raises GraphError for a model that takes no batches of two and three rows.
    """
    small, large = (_record(graph, cut(x, 0, rows)) for rows in _BATCHES)
    return {name: _difference(own, small.get(name, replace(own, macs=0))) for name, own in large.items()}


@dataclass(frozen=True)
class _Record:
    name: str
    op: Op
    shapes: tuple[tuple[str, Shape, bool], ...]
    macs: int


class _Recorder(fx.Interpreter):
    """Runs the graph in float and notes the shapes of every op node, and the products of all others."""

    def __init__(self, graph: MaseGraph) -> None:
        super().__init__(graph.model)
        self.mase_graph = graph
        self.parameters = dict(graph.model.named_parameters(remove_duplicate=False))
        self.constants = _constants(graph, self.parameters)
        self.read: set[int] = set()
        """Identities of the parameters that op nodes read."""

        self.records: dict[str, _Record] = {}

    def run_node(self, n: fx.Node) -> Any:
        op = self.mase_graph.op(n)
        if op is None:
            return self._run_other(n)
        result = super().run_node(n)
        if isinstance(result, Tensor):
            shapes = [*self._operands(n, op), ("data_out", tuple(result.shape), False)]
            self.records[n.name] = _Record(n.name, op, tuple(shapes), _macs(op, shapes))
        return result

    def _run_other(self, n: fx.Node) -> Any:
        """Run a node outside the op table."""
        if n.op not in ("call_module", "call_function", "call_method"):
            return super().run_node(n)
        with _counted() as counter:
            result = super().run_node(n)
        if counter.get_total_flops():
            op = Op(_name_of(n, self.mase_graph), quantizable=False)
            self.records[n.name] = _Record(n.name, op, (), counter.get_total_flops() // 2)
        return result

    def _operands(self, node: fx.Node, op: Op) -> list[tuple[str, Shape, bool]]:
        """What an op node reads: operands, shapes, and whether each is a parameter."""
        args, kwargs = self.fetch_args_kwargs_from_env(node)
        inner = self.mase_graph.inner(node)
        slots = [(operand, arg, False) for operand, group in op.args.items() for arg in group]
        found = []
        if isinstance(inner, nn.Module):
            own = [(name, getattr(inner, name, None)) for name in ("weight", "bias")]
            found += [(name, tuple(value.shape), True) for name, value in own if isinstance(value, Tensor)]
            self.read.update(map(id, inner.parameters()))
        else:
            slots += [(operand, arg, True) for operand, arg in op.params.items()]
        for operand, arg, is_weight in slots:
            value = args[arg.index] if arg.index < len(args) else _keyword(arg.keywords, kwargs)
            if isinstance(value, Tensor):
                source = node.args[arg.index] if arg.index < len(node.args) else _keyword(arg.keywords, node.kwargs)
                found.append((operand, tuple(value.shape), self._is_parameter(source, value, is_weight)))
        return found

    def _is_parameter(self, source: Any, value: Tensor, is_weight: bool) -> bool:
        """Whether an operand is a parameter, seen another way perhaps (a transpose), or stands where one belongs.

        What another op node has made of parameters is none: they count there.
        """
        constant = self.constants.get(source) if isinstance(source, fx.Node) else None
        if constant is None:
            return is_weight
        parameters = [self.parameters[name] for name in constant.parameters]
        is_one = len(parameters) == 1 and parameters[0].numel() == value.numel()
        if constant.is_computed or not (is_one or is_weight):
            return False
        self.read.update(map(id, parameters))
        return True

    def other_parameters(self) -> _Record | None:
        """The parameters that no op node reads: they stay in float."""
        others = {name: own for name, own in self.module.named_parameters() if id(own) not in self.read}
        if not others:
            return None
        names = [*list(others)[:MOST_NAMED], *(["…"] if len(others) > MOST_NAMED else [])]
        shapes = tuple(("weight", tuple(own.shape), True) for own in others.values())
        return _Record(OTHER_PARAMETERS, Op(", ".join(names), quantizable=False), shapes, 0)


@dataclass(frozen=True)
class _Constant:
    """What follows from parameters alone: their names, and whether an op node has a part in it."""

    parameters: frozenset[str]
    is_computed: bool


def _constants(graph: MaseGraph, parameters: Mapping[str, Any]) -> dict[fx.Node, _Constant]:
    """The nodes that give parameters, or what follows from them alone."""
    fixed: dict[fx.Node, _Constant] = {}
    for node in graph.model.graph.nodes:
        sources = node.all_input_nodes
        if node.op == "get_attr":
            fixed[node] = _Constant(frozenset({str(node.target)} & parameters.keys()), False)
        elif node.op != "output" and sources and all(source in fixed for source in sources):
            is_computed = graph.op(node) is not None or any(fixed[source].is_computed for source in sources)
            fixed[node] = _Constant(frozenset().union(*(fixed[source].parameters for source in sources)), is_computed)
    return {node: constant for node, constant in fixed.items() if constant.parameters}


@contextmanager
def _counted() -> Iterator[FlopCounterMode]:
    """Count what multiplies matrices; kernels that hide it (of attention, of recurrent layers) are not used."""
    has_fastpath = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the flags of oneDNN speak of devices that are not there
            with (
                torch.backends.mkldnn.flags(enabled=False),
                torch.backends.cudnn.flags(enabled=False),
                sdpa_kernel(SDPBackend.MATH),
                FlopCounterMode(display=False) as counter,
            ):
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
    others = recorder.other_parameters()
    return recorder.records | ({others.name: others} if others else {})


def _keyword(names: tuple[str, ...], kwargs: Mapping[str, Any]) -> Any:
    return next((kwargs[name] for name in names if name in kwargs), None)


def _difference(large: _Record, small: _Record) -> NodeCost:
    tensors = tuple(
        TensorCost(operand, _per_sample(shape, other), is_parameter)
        for (operand, shape, is_parameter), (_, other, _) in zip(large.shapes, small.shapes, strict=True)
    )
    return NodeCost(large.name, large.op, tensors, large.macs - small.macs)


def _per_sample(large: Shape, small: Shape) -> Shape:
    """One sample's share of a tensor: the dimension that grows with the batch, less its growth.

    >>> _per_sample((3, 16), (2, 16))
    (1, 16)
    """
    return tuple(a - b if a != b else a for a, b in zip(large, small, strict=True))
