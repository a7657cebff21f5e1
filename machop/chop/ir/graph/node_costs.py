"""Measures shapes and MACs of each node of a graph for one sample, by running it."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, replace
from itertools import pairwise
from math import prod
from typing import Any, NamedTuple

import torch
from torch import Tensor, fx, nn
from torch.utils._pytree import tree_leaves

from chop.dataset.rows import count_rows, repeated
from chop.errors import GraphError, first_line
from chop.ir.graph.inputs import placeholder_values
from chop.ir.graph.mase_graph import MaseGraph
from chop.ir.graph.products import ProductCounter, counted_products
from chop.nn.ops import Op, Shape
from chop.nn.quantized import call_quantized

OTHER_PARAMETERS = "other parameters"
MOST_NAMED = 3
_BATCHES = (2, 3, 4)
"""Batch sizes: what grows with them belongs to a sample, what does not is shared by all."""

_OUTER_PRODUCTS = ("outer", "ger", "kron", "einsum", "vecdot", "linalg_vecdot")
"""Products of vectors and tensors that torch may compute element by element."""


@dataclass(frozen=True)
class TensorCost:
    """A tensor that a node reads or writes for one sample: its operand, its shape, whether it is a parameter.

    `is_factor` is true for the weights, biases and inputs of a layer that multiplies and accumulates. `readers` is the
    number of nodes that read the same parameter, each in a format of its own.
    """

    operand: str
    shape: Shape
    is_parameter: bool = False
    is_factor: bool = False
    readers: int = 1

    @property
    def elements(self) -> int:
        """Number of values."""
        return prod(self.shape)


@dataclass(frozen=True)
class NodeCost:
    """One node: its inputs, weights and results for one sample, and its multiply-accumulates.

    Of a node outside the op table, which stays in float, only the multiply-accumulates are known; its `op` holds but a
    name. The parameters that no op node reads make a cost of their own (`OTHER_PARAMETERS`).

    `uncounted` names operators of torch that multiply and are missing in `macs`. `is_linear` is false where a batch of
    twice the samples is not twice the work (samples that are compared with each other).
    """

    name: str
    op: Op
    tensors: tuple[TensorCost, ...]
    macs: int
    uncounted: tuple[str, ...] = ()
    is_linear: bool = True

    def of(self, operand: str) -> tuple[TensorCost, ...]:
        """The tensors of one operand (two for the inputs of an addition)."""
        return tuple(tensor for tensor in self.tensors if tensor.operand == operand)


def node_costs(graph: MaseGraph, x: Any, batch_dim: int = 0) -> dict[str, NodeCost]:
    """The costs of a network for one sample, by node, in the order of execution.

    They are the costs of every node in the op table, of every other node that multiplies, and of all other parameters.

    `x` holds one sample or more along `batch_dim`, as the model takes them; their number plays no part, nor do formats.
    A parameter that several op nodes read stands at each of them, as each may have a format of its own, with the number
    of its `readers`. Nothing in `graph` changes.

    Raises GraphError for a model that does not run, or that takes batches of one size alone, above 1.
    """
    runs, step = _runs_of_several_sizes(copy.deepcopy(graph), x, batch_dim)
    readers = Counter(read.parameter for own in runs[0].values() for read in own.reads)
    return {
        name: _per_sample_cost([run.get(name, replace(own, macs=0)) for run in runs], step, readers)
        for name, own in runs[-1].items()
    }


def remarks_on(costs: Mapping[str, NodeCost]) -> list[str]:
    """Remarks on `costs`: what they leave out, or what depends on these samples, one line each."""
    uncounted = [
        f"products of node '{cost.name}' ({op}) are not counted" for cost in costs.values() for op in cost.uncounted
    ]
    bent = [
        f"node '{cost.name}' ({cost.op.name}) works on samples together: its cost for a sample is that of one more "
        f"beside {_BATCHES[0]}"
        for cost in costs.values()
        if not cost.is_linear
    ]
    return uncounted + bent


class _Read(NamedTuple):
    """A tensor that a node reads or writes in one run; `parameter` identifies it, None for an activation."""

    operand: str
    shape: Shape
    parameter: Hashable = None
    is_factor: bool = False


@dataclass(frozen=True)
class _Record:
    name: str
    op: Op
    reads: tuple[_Read, ...]
    macs: int
    uncounted: tuple[str, ...] = ()


_Run = Mapping[str, _Record]


def _runs_of_several_sizes(graph: MaseGraph, x: Any, batch_dim: int) -> tuple[list[_Run], int]:
    """Runs on batches of growing sizes, and by how many samples they grow; of the one sample alone where none runs.

    A model may take multiples of its own batch size only.
    """
    samples = count_rows(x, batch_dim)
    if not samples:
        raise GraphError("costs per sample need at least one sample; the batch is empty")
    problem: GraphError | None = None
    for step, sizes in ((1, _BATCHES), (samples, (samples, 2 * samples, 3 * samples)), (1, (1,))):
        try:
            return [_record(graph, repeated(x, size, batch_dim)) for size in sizes], step
        except GraphError as error:
            problem = problem or error
    assert problem is not None
    try:
        _record(graph, x)
    except GraphError as error:  # it is not the batch size
        raise GraphError(
            f"the model does not run on the data ({first_line(error.__cause__ or error)}): give it inputs of the "
            "shapes and types that it takes"
        ) from error
    raise problem


class _Recorder(fx.Interpreter):
    """Runs the graph in float and notes the shapes of every op node, and the products of all nodes."""

    def __init__(self, graph: MaseGraph, counter: ProductCounter) -> None:
        super().__init__(graph.model)
        self.mase_graph = graph
        self.counter = counter
        self.parameters = dict(graph.model.named_parameters(remove_duplicate=False))
        self.constants = _constants(graph, self.parameters)
        self.read: set[int] = set()
        """Identities of the parameters that op nodes read."""

        self.multiplied: set[int] = set()
        """Identities of the parameters of layers outside the op table that multiply and accumulate."""

        self.records: dict[str, _Record] = {}

    def run_node(self, n: fx.Node) -> Any:
        before, unseen = self.counter.macs, len(self.counter.uncounted)
        self.counter.counts_elementwise = _name_of(n, self.mase_graph).partition(".")[0] in _OUTER_PRODUCTS
        op = self.mase_graph.op(n)
        result = super().run_node(n) if op is None else self._run_in_float(n, op)
        macs, uncounted = self.counter.macs - before, tuple(dict.fromkeys(self.counter.uncounted[unseen:]))
        if op is not None:
            own = [read._replace(is_factor=op.multiplies or macs > 0) for read in self._operands(n, op)]
            reads = (*own, *(_Read("data_out", tuple(value.shape)) for value in _floating(result)))
            if reads:
                self.records[n.name] = _Record(n.name, op, reads, macs, uncounted)
        elif macs or uncounted:
            self.multiplied.update(map(id, self._parameters_of(n)))
            op = Op(_name_of(n, self.mase_graph), quantizable=False)
            self.records[n.name] = _Record(n.name, op, (), macs, uncounted)
        return result

    def _run_in_float(self, n: fx.Node, op: Op) -> Any:
        args, kwargs = self.fetch_args_kwargs_from_env(n)
        return call_quantized(self.mase_graph.inner(n), op, {}, args, kwargs)

    def _operands(self, node: fx.Node, op: Op) -> list[_Read]:
        """The operands that an op node reads."""
        args, kwargs = self.fetch_args_kwargs_from_env(node)
        inner = self.mase_graph.inner(node)
        slots = [(operand, arg, False) for operand, group in op.args.items() for arg in group]
        found = []
        if isinstance(inner, nn.Module):
            found += self._module_parameters(inner)
            self.read.update(map(id, inner.parameters()))
        else:
            slots += [(operand, arg, True) for operand, arg in op.params.items()]
        for operand, arg, is_weight in slots:
            value = args[arg.index] if arg.index < len(args) else _keyword(arg.keywords, kwargs)
            if _floating(value):
                source = node.args[arg.index] if arg.index < len(node.args) else _keyword(arg.keywords, node.kwargs)
                found.append(_Read(operand, tuple(value.shape), self._parameter(source, value, is_weight)))
        return found

    def _module_parameters(self, inner: nn.Module) -> list[_Read]:
        """The weight and the bias of a module; those that a hook makes are known by their module."""
        own = {name: getattr(inner, name, None) for name in ("weight", "bias")}
        return [
            _Read(name, tuple(value.shape), id(value) if isinstance(value, nn.Parameter) else (id(inner), name))
            for name, value in own.items()
            if isinstance(value, Tensor)
        ]

    def _parameter(self, source: Any, value: Tensor, is_weight: bool) -> Hashable:
        """What identifies an operand that is a parameter, or that stands where one belongs; None for any other operand.

        A parameter may be seen another way (a transpose). What another op node has made of parameters counts there,
        not here.
        """
        constant = self.constants.get(source) if isinstance(source, fx.Node) else None
        if constant is None:
            return str(source) if is_weight else None
        parameters = [self.parameters[name] for name in constant.parameters]
        is_one = len(parameters) == 1 and parameters[0].numel() == value.numel()
        if constant.is_computed or not (is_one or is_weight):
            return None
        self.read.update(map(id, parameters))
        return id(parameters[0]) if is_one else str(source)

    def _parameters_of(self, node: fx.Node) -> list[nn.Parameter]:
        """The parameters that a node outside the op table reads."""
        inner = self.mase_graph.inner(node)
        if isinstance(inner, nn.Module):
            return list(inner.parameters())
        constants = [self.constants[source] for source in node.all_input_nodes if source in self.constants]
        return [self.parameters[name] for constant in constants for name in constant.parameters]

    def other_parameters(self) -> _Record | None:
        """The parameters that no op node reads: they stay in float."""
        others = {name: own for name, own in self.module.named_parameters() if id(own) not in self.read}
        if not others:
            return None
        names = [*list(others)[:MOST_NAMED], *(["…"] if len(others) > MOST_NAMED else [])]
        reads = (_Read("weight", tuple(own.shape), id(own), id(own) in self.multiplied) for own in others.values())
        return _Record(OTHER_PARAMETERS, Op(", ".join(names), quantizable=False), tuple(reads), 0)


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


def _floating(value: Any) -> list[Tensor]:
    """The tensors of numbers in what a node reads or returns; indices and masks cost nothing."""
    tensors = [leaf for leaf in tree_leaves(value) if isinstance(leaf, Tensor)]
    return [tensor for tensor in tensors if tensor.is_floating_point() or tensor.is_complex()]


def _name_of(node: fx.Node, graph: MaseGraph) -> str:
    """The name of what a node outside the op table calls."""
    if node.op == "call_module":
        return type(graph.inner(node)).__name__
    return str(getattr(node.target, "__name__", node.target))


def _record(graph: MaseGraph, x: Any) -> _Run:
    try:
        with torch.random.fork_rng(devices=[]), torch.no_grad(), counted_products() as counter:
            recorder = _Recorder(graph, counter)
            recorder.run(*placeholder_values(graph, x))
    except Exception as error:
        raise GraphError(
            f"the model does not run on a batch of {_BATCHES[0]} or {_BATCHES[1]} samples "
            f"({first_line(error)}); costs per sample need a model that takes any batch size"
        ) from error
    others = recorder.other_parameters()
    return recorder.records | ({others.name: others} if others else {})


def _keyword(names: tuple[str, ...], kwargs: Mapping[str, Any]) -> Any:
    return next((kwargs[name] for name in names if name in kwargs), None)


def _per_sample_cost(sizes: list[_Record], step: int, readers: Mapping[Hashable, int]) -> NodeCost:
    """The cost of a node for a sample, from its records on batches that grow by `step` samples (or on one sample)."""
    own = sizes[0]
    macs, is_linear = (own.macs, True) if len(sizes) == 1 else _growth([record.macs for record in sizes], step)
    tensors: tuple[TensorCost, ...] = ()
    for reads in zip(*(record.reads for record in sizes), strict=True):
        read = reads[0]
        shape, is_shape_linear = _per_sample([same.shape for same in reads], step)
        is_parameter = read.parameter is not None
        shared = readers[read.parameter] if is_parameter else 1
        tensors += (TensorCost(read.operand, shape, is_parameter, read.is_factor, shared),)
        is_linear = is_linear and is_shape_linear
    return NodeCost(own.name, own.op, tensors, macs, own.uncounted, is_linear)


def _growth(counts: list[int], step: int) -> tuple[int, bool]:
    """By how much a count grows with a sample, and whether it does so always.

    >>> _growth([8, 12, 16], 1), _growth([8, 16, 24], 4), _growth([4, 9, 16], 1)
    ((4, True), (2, True), (5, False))
    """
    growths = [after - before for before, after in pairwise(counts)]
    return growths[0] // step, len(set(growths)) == 1 and growths[0] % step == 0


def _per_sample(shapes: list[Shape], step: int) -> tuple[Shape, bool]:
    """One sample's share of a tensor: the dimension that grows with the batch, less its growth; all of it if none does.

    >>> _per_sample([(2, 16), (3, 16), (4, 16)], 1)
    ((1, 16), True)
    >>> _per_sample([(2, 2), (3, 3), (4, 4)], 1)
    ((5,), False)
    """
    if len(set(shapes)) == 1:
        return shapes[0], True
    elements, is_linear = _growth([prod(shape) for shape in shapes], step)
    if not is_linear:
        return (elements,), False
    return tuple((b - a) // step if a != b else a for a, b in zip(*shapes[:2], strict=True)), True
