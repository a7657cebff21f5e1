"""The stages of an integer network beside the nodes that they were made of: what exporters of circuits read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import permutations
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, fx

from chop.circuits import integer_network
from chop.circuits.from_graph import Builder, call_of, two_samples
from chop.circuits.movements import moves, selection
from chop.circuits.network import IntegerNetwork
from chop.circuits.node_settings import Call, padding_of, spread
from chop.circuits.stages import Affine, Maximum, Port, Select, Stage
from chop.circuits.values import Integers, Values
from chop.errors import CircuitError, ExportError, NodeProblem
from chop.exporters.base import ExportNetwork
from chop.formats import Format
from chop.ir import MaseGraph
from chop.ir.graph.inputs import placeholder_values

NORMS_FIRST = 'let the search run setup.passes = ["fold_batch_norm", "absorb_batch_norm"] before it chooses formats'
FLOAT_BITS = 24
"""Bits of a whole number that float32 holds."""


@dataclass(frozen=True)
class Window:
    """The sliding window of a convolution or a pooling; `padding` before and after each dimension."""

    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    padding: tuple[tuple[int, int], ...]
    dilation: tuple[int, ...]
    groups: int = 1
    ceil_mode: bool = False


@dataclass(frozen=True)
class IntegerLayers:
    """A quantised graph as stages that compute its output, each with the settings and formats of its node.

    Raises ExportError, with all reasons by node, where the network has no integer form as a whole.
    """

    graph: MaseGraph
    network: IntegerNetwork
    example: Any
    front: tuple[Select, ...] = ()
    """Movements between the model's input and the ports, of values in float."""

    @classmethod
    def of(cls, exported: ExportNetwork) -> IntegerLayers:
        """The stages of a network that is to be exported."""
        example = exported.example()
        try:
            network = integer_network(exported.graph, example)
        except CircuitError as error:
            raise ExportError(error.args[0], [*_float_front(exported.graph, example), *error.problems]) from error
        return cls(exported.graph, network, example, _front(exported.graph, network, example))

    @cached_property
    def stages(self) -> tuple[Stage, ...]:
        """The stages that the output reads, in the order of execution: a ReLU may be part of a rounding."""
        wanted = {self.network.stages[-1].name}
        for stage in reversed(self.network.stages):
            if stage.name in wanted:
                wanted.update(stage.sources)
        return tuple(stage for stage in self.network.stages if stage.name in wanted)

    @cached_property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The shape of one sample of each input, and of each stage's result."""
        return self.inputs | {stage.name: stage.shape for stage in (*self.front, *self.network.stages)}

    @cached_property
    def inputs(self) -> dict[str, tuple[int, ...]]:
        """The model's inputs that the circuit reads, with the shape of one sample."""
        read = {source for stage in self.front for source in stage.sources} | set(self.network.port_nodes)
        names = [node.name for node in self.graph.nodes if node.op == "placeholder"]
        values = zip(names, placeholder_values(self.graph, self.example), strict=True)
        return {name: tuple(value.shape[1:]) for name, value in values if name in read}

    def source_of(self, port: Port) -> str:
        """The model's input, or the movement of `front`, that comes to a port."""
        return dict(zip((own.name for own in self.network.ports), self.network.port_nodes, strict=True))[port.name]

    def input_problems(self) -> list[str]:
        """The problems of the model's inputs for an exporter that takes one tensor."""
        names = list(self.inputs)
        return (
            []
            if len(names) == 1
            else [f"{', '.join(names)}: the model reads {len(names)} inputs; only one can be exported"]
        )

    def input_of(self, x: Any) -> NDArray[np.float32]:
        """The tensor that the only input takes of the model's input `x`."""
        (name,) = self.inputs
        placeholders = [node.name for node in self.graph.nodes if node.op == "placeholder"]
        values = dict(zip(placeholders, placeholder_values(self.graph, x), strict=True))
        return np.asarray(values[name], np.float32)

    def op_name(self, stage: Stage) -> str:
        """The op table's name of the node that a stage was made of."""
        op = self.graph.op(self._node(stage))
        return "" if op is None else op.name

    def format(self, stage: Stage, operand: str) -> Format | None:
        """The format of a layer's operand."""
        return self.graph.plan[stage.name].get(operand)

    def parameter(self, stage: Stage, operand: str) -> Tensor | None:
        """A layer's `weight` or `bias` in float; None where it has none."""
        node = self._node(stage)
        op = self.graph.op(node)
        return self.graph.parameter(node, op, operand) if op is not None and operand in op.params else None

    def constants(self, stage: Affine, operand: str) -> Values | None:
        """The codes of a layer's `weight` or `bias`, in the shape of its parameter; None where it has none."""
        found = self.parameter(stage, operand)
        if found is None:
            return None
        codes, frac = (stage.weight, stage.weight_frac) if operand == "weight" else (stage.bias, stage.bias_frac)
        return Values(codes.reshape(tuple(found.shape)), frac)

    def window(self, stage: Affine | Maximum) -> Window:
        """The window of a convolution or a pooling."""
        name, call, size = self.op_name(stage), self._call(stage), self.shapes[stage.sources[0]][1:]
        if name.startswith("conv"):
            return self._convolution(stage, call)
        dims = len(size)
        if name.startswith("adaptive"):
            kernel = tuple(own // out for own, out in zip(size, stage.shape[1:], strict=True))
            return Window(kernel, kernel, ((0, 0),) * dims, (1,) * dims)
        kernel = call.pair("kernel_size", 1, dims, 1)
        stride = spread(call.setting("stride", 2, None) or kernel, dims)
        padding = tuple((own, own) for own in call.pair("padding", 3, dims, 0))
        if not name.startswith("max"):
            return Window(kernel, stride, padding, (1,) * dims)
        ceil_mode = bool(call.setting("ceil_mode", 5, False))
        return Window(kernel, stride, padding, call.pair("dilation", 4, dims, 1), ceil_mode=ceil_mode)

    def wide_sums(self) -> tuple[str, ...]:
        """A sentence on each layer whose sums float32 does not hold: there the network itself rounds."""
        bits = self.network.accumulators
        return tuple(
            f"the sums of {stage.name} take {bits[stage.name]} bits, and float32, in which chop computes, "
            f"holds {FLOAT_BITS}: another order of adding may give another result"
            for stage in self.stages
            if isinstance(stage, Affine) and bits[stage.name] > FLOAT_BITS
        )

    def _convolution(self, stage: Stage, call: Call) -> Window:
        assert isinstance(stage, Affine)
        weight = self.constants(stage, "weight")
        assert weight is not None
        kernel = weight.codes.shape[2:]
        dims = len(kernel)
        dilation = call.pair("dilation", 5, dims, 1)
        padding = tuple(padding_of(call, 4, kernel, dilation))
        return Window(kernel, call.pair("stride", 3, dims, 1), padding, dilation, int(call.setting("groups", 6, 1)))

    def _call(self, stage: Stage) -> Call:
        node = self._node(stage)
        return Call(node, self.graph.inner(node), tuple(node.args), dict(node.kwargs))

    def _node(self, stage: Stage) -> fx.Node:
        return next(node for node in self.graph.nodes if node.name == stage.name)


def _front(graph: MaseGraph, network: IntegerNetwork, example: Any) -> tuple[Select, ...]:
    """The movements in front of the ports; raises ExportError for all that computes there."""
    if problems := _float_front(graph, example):
        raise ExportError("the network begins in float:", problems)
    values, made = two_samples(graph, example), []
    for node in graph.nodes:
        if node.name in network.outside:
            call = call_of(graph, node, values)
            sources = [source for source in node.all_input_nodes if isinstance(values.get(source), Tensor)]
            _, stage = selection(node.name, call, sources, {own: tuple(values[own].shape[1:]) for own in sources})
            made.append(replace(stage, sources=tuple(source.name for source in sources)))
    return tuple(made)


def _float_front(graph: MaseGraph, example: Any) -> list[NodeProblem]:
    """The nodes that compute in float in front of the first rounding, each with the cure."""
    values = two_samples(graph, example)
    outside = Builder(graph, graph.plan, values).built().outside
    computing = (graph.node(name) for name in outside if not moves(call_of(graph, graph.node(name), values)))
    why = f"it computes in float in front of the first format; {NORMS_FIRST}"
    return [NodeProblem(node.name, why) for node in computing]


def axes_of(index: Integers, shape: Sequence[int]) -> tuple[int, ...] | None:
    """The order of axes in which a tensor of `shape` has its elements in the order `index`; None where there is none.

    >>> import numpy as np
    >>> axes_of(np.array([0, 2, 4, 1, 3, 5]), (3, 2))
    (1, 0)
    """
    numbers = torch.arange(index.size).reshape(*shape)
    wanted = torch.from_numpy(index)
    orders = (own for own in permutations(range(len(shape))) if torch.equal(numbers.permute(own).flatten(), wanted))
    return next(orders, None)
