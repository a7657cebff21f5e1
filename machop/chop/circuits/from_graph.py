"""Turns a quantised graph into an integer network, or says why no integer circuit computes it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx, nn

from chop.circuits.layers import ELSEWHERE, Layer, clip_of, stages_of, without_integer_form
from chop.circuits.movements import TWO, moves, selection
from chop.circuits.network import Floats, IntegerNetwork
from chop.circuits.node_settings import Call
from chop.circuits.stages import Port, Stage, rounding
from chop.errors import CircuitError, NodeProblem
from chop.formats import Format, OutputShift
from chop.formats.grid import Grid
from chop.ir import MaseGraph, QuantPlan
from chop.ir.graph.inputs import placeholder_values
from chop.nn.copying import copied_module
from chop.nn.ops import STATISTICS, Op
from chop.tools.model_inputs import map_tensors

NO_CIRCUIT = "the network has no integer circuit:"
CLAMPS = ("clamp", "clip", "clamp_", "hardtanh", "Hardtanh")


def integer_network(graph: MaseGraph, example: Any) -> IntegerNetwork:
    """The integer network of a graph with the formats of its plan, which must be measured (`graph.apply_plan`).

    `example` is a batch as the model takes it; of its samples only shapes matter. What comes before the first rounding
    stays outside.

    Raises CircuitError with all reasons, by node, where no integer circuit computes the network.
    """
    return network_of_plan(graph, graph.plan, example)


def network_of_plan(graph: MaseGraph, plan: QuantPlan, example: Any) -> IntegerNetwork:
    """The integer network of a graph under a plan without open ranges, whatever formats the graph has now.

    Its `port_values` are those of the graph as it is. Raises CircuitError as `integer_network` does.
    """
    network = _built(graph, plan, example).network()
    _ = network.ranges  # raises where numbers are too wide
    return network


def require_circuit(graph: MaseGraph, plan: QuantPlan, example: Any) -> None:
    """Raise CircuitError where a node has no integer form, whatever widths its formats have."""
    _built(graph, plan, example)


def _built(graph: MaseGraph, plan: QuantPlan, example: Any) -> Builder:
    builder = Builder(graph, plan, two_samples(graph, example)).built()
    if builder.problems:
        raise CircuitError(NO_CIRCUIT, builder.problems)
    return builder


class Builder:
    """Goes through a graph once: each node is in float (before the first rounding), a stage, or a problem.

    The graph has the formats of `plan`, whatever its model computes in; `values` are those of its nodes for two
    samples.
    """

    def __init__(self, graph: MaseGraph, plan: QuantPlan, values: dict[fx.Node, Any]) -> None:
        self.graph = graph
        self.plan = plan
        self.values = values
        self.stages: list[Stage] = []
        self.result: dict[fx.Node, str] = {}
        """The stage that holds the result of a node."""

        self.shapes: dict[fx.Node, tuple[int, ...]] = {}
        self.in_float: list[fx.Node] = []
        self.port_nodes: list[fx.Node] = []
        self.failed: set[fx.Node] = set()
        """Nodes without an integer form, and all that depend on them."""

        self.problems: list[NodeProblem] = []
        self.output = next(node for node in graph.nodes if node.op == "output")
        self.made: dict[str, list[Stage]] = {}
        """The stages of each node that has some."""

    def built(self) -> Builder:
        """The same, once it has gone through the graph."""
        for node in needed_for(self.output):
            first = len(self.stages)
            self._try(node)
            if self.stages[first:] and node not in self.failed:
                self.made[node.name] = self.stages[first:]
        return self

    def _try(self, node: fx.Node) -> None:
        """Take a node up; its reason is noted where it has no integer form."""
        before = self.failed.intersection(node.all_input_nodes)
        if before:
            self.failed.add(node)
        if any(source not in self.result for source in before):
            return
        try:
            self._add(node)
        except CircuitError as error:
            self.problems.append(NodeProblem(node.name, error))
            self.failed.add(node)
            self._stand_in(node)

    def _stand_in(self, node: fx.Node) -> None:
        """Take a node without an integer form for one that has: so the reasons of those behind it are found as well."""
        value = self.values.get(node)
        if isinstance(value, Tensor) and value.ndim >= 1 and len(value) == TWO:
            self.stages.append(Port(node.name, (), tuple(value.shape[1:]), Grid.of(0, -1, 1)))
            self.result[node] = node.name

    def network(self) -> IntegerNetwork:
        """The network of all stages that were added."""
        front = _front(self.graph, self.port_nodes)
        return IntegerNetwork(tuple(self.stages), front, self.outside, tuple(node.name for node in self.port_nodes))

    @property
    def outside(self) -> tuple[str, ...]:
        """The nodes that compute in float, or move values, in front of the first rounding."""
        names = (node.name for node in self.in_float if node.op != "placeholder")
        return tuple(name for name in names if self._leads_to_port(name))

    def _add(self, node: fx.Node) -> None:
        if node.op == "output":
            self._add_output(node)
        elif node.op in ("placeholder", "get_attr") or not isinstance(self.values.get(node), Tensor):
            if node.op == "placeholder":
                self.in_float.append(node)
        elif not any(source in self.result for source in node.all_input_nodes) and not self._rounds(node):
            self._leave_in_float(node)
        else:
            self._add_computed(node)

    def _rounds(self, node: fx.Node) -> bool:
        formats = self.plan[node.name]
        return "data_in" in formats or "data_out" in formats

    def _leave_in_float(self, node: fx.Node) -> None:
        op = self.graph.op(node)
        if op is not None and op.multiplies:
            raise CircuitError("its input is in float; choose a format (data_in_width) for it")
        if any(source in self.in_float for source in node.all_input_nodes):
            self.in_float.append(node)

    def _add_output(self, node: fx.Node) -> None:
        given = node.args[0]
        only = given[0] if isinstance(given, (tuple, list)) and len(given) == 1 else given
        if not isinstance(only, fx.Node):
            raise CircuitError("the model returns several tensors; a circuit has one output: return one, or join them")
        if only not in self.result:
            raise CircuitError("nothing is rounded on the way to the output; choose formats for the layers")
        assert self.stages[-1].name == self.result[only]  # all others lead to it

    def _add_computed(self, node: fx.Node) -> None:
        op, formats = self.graph.op(node), self.plan[node.name]
        call = call_of(self.graph, node, self.values)
        if STATISTICS in formats:
            raise CircuitError(
                'its statistics are measured under the plan, which no circuit has: leave out batch_norm = "measured", '
                "and let the search run fold_batch_norm and absorb_batch_norm (setup.passes)"
            )
        if op is not None and op.name == "dropout":
            self.result[node] = self.result[node.all_input_nodes[0]]
        elif op is not None:
            self._add_layer(node, op, call, formats)
        elif moves(call):
            self._add_movement(node, call)
        elif _name_of(call) in CLAMPS:
            self._add_clamp(node, call)
        else:
            raise without_integer_form(_name_of(call))
        if "data_out" in formats:
            source = self.result[node]
            self.result[node] = self._round(source, "data_out", formats["data_out"], f"{node.name}_out", node)

    def _add_layer(self, node: fx.Node, op: Op, call: Call, formats: Any) -> None:
        shape = _sample_shape(self.values[node])
        operands = [
            (operand, source)
            for operand, args in op.args.items()
            for source in (arg.of(node.args, node.kwargs) for arg in args)
            if isinstance(source, fx.Node) and isinstance(self.values.get(source), Tensor)
        ]
        sources = tuple(self._operand(node, source, operand, formats) for operand, source in operands)
        shapes = tuple(_sample_shape(self.values[source]) for _, source in operands)
        found = {name: self.graph.parameter(node, op, name) for name in op.params}
        parameters = {name: value for name, value in found.items() if value is not None}
        made = stages_of(Layer(node.name, op, call, formats, parameters, sources, shapes, shape))
        self.stages.extend(made)
        self.result[node] = made[-1].name

    def _operand(self, node: fx.Node, source: fx.Node, operand: str, formats: Any) -> str:
        """The stage that holds an operand, rounded where it has a format."""
        if operand in formats:
            place = node.all_input_nodes.index(source)
            name = f"{node.name}_in{place or ''}"
            return self._round(self.result.get(source), operand, formats[operand], name, source)
        if source in self.result:
            return self.result[source]
        if source.op == "get_attr":
            raise CircuitError(f"its operand '{source.name}' is a parameter in float; choose onnx: {ELSEWHERE}")
        raise CircuitError("its input is in float; choose a format (data_in_width) for it")

    def _round(self, source: str | None, operand: str, chosen: Format, name: str, node: fx.Node) -> str:
        """Round a stage, or the float value of `node`, to the format of an operand."""
        if node.op == "get_attr":
            raise CircuitError(
                f"{operand}: '{node.name}' is a parameter, which no circuit rounds; choose onnx: {ELSEWHERE}"
            )
        grid = chosen.grid(self.values[node])
        if isinstance(chosen, OutputShift):
            raise CircuitError(f"{operand}: its bias correction is added in float32; leave out bias_correction")
        if grid is None:
            raise CircuitError(
                f"{operand}: the format '{chosen}' has no integer codes; choose integer, or a scale of 2^n"
            )
        shape = _sample_shape(self.values[node])
        if source is not None:
            stage: Stage = rounding(name, next(own for own in self.stages if own.name == source), shape, grid)
        else:
            stage = Port(name, (), shape, grid)
            self.port_nodes.append(node)
        self.stages.append(stage)
        return name

    def _add_movement(self, node: fx.Node, call: Call) -> None:
        sources = [source for source in node.all_input_nodes if isinstance(self.values.get(source), Tensor)]
        if not all(source in self.result for source in sources):
            raise CircuitError(
                "it joins values in float with rounded ones; choose formats for the layers that compute them"
            )
        shapes = {source: _sample_shape(self.values[source]) for source in sources}
        _, stage = selection(node.name, call, sources, shapes)
        self.stages.append(replace(stage, sources=tuple(self.result[source] for source in sources)))
        self.result[node] = node.name

    def _add_clamp(self, node: fx.Node, call: Call) -> None:
        is_hard = "ardtanh" in _name_of(call)
        names = ("min_val", "max_val") if is_hard else ("min", "max")
        bounds = [
            call.setting(name, place, default)
            for name, place, default in zip(names, (1, 2), (-1.0, 1.0) if is_hard else (None, None), strict=True)
        ]
        source = node.all_input_nodes[0]
        self.stages.append(clip_of(node.name, self.result[source], _sample_shape(self.values[node]), *bounds))
        self.result[node] = node.name

    def _leads_to_port(self, name: str) -> bool:
        return name in {node.name for port in self.port_nodes for node in (port, *_ancestors(port))}


def call_of(graph: MaseGraph, node: fx.Node, values: Mapping[fx.Node, Any]) -> Call:
    """A node's call, with the values of all nodes but tensors filled in."""

    def known(source: fx.Node) -> Any:
        value = values.get(source)
        return source if isinstance(value, Tensor) else value

    args, kwargs = fx.node.map_arg((node.args, dict(node.kwargs)), known)
    return Call(node, graph.inner(node), tuple(args), dict(kwargs))


def _name_of(call: Call) -> str:
    return str(getattr(call.inner, "__name__", type(call.inner).__name__))


def needed_for(output: fx.Node) -> list[fx.Node]:
    """The nodes that the output depends on, in the order of execution."""
    wanted = {output, *_ancestors(output)}
    return [node for node in output.graph.nodes if node in wanted]


def _ancestors(node: fx.Node) -> set[fx.Node]:
    found: set[fx.Node] = set()
    waiting = [node]
    while waiting:
        new = [source for source in waiting.pop().all_input_nodes if source not in found]
        found.update(new)
        waiting.extend(new)
    return found


@torch.no_grad()
def two_samples(graph: MaseGraph, example: Any) -> dict[fx.Node, Any]:
    """The value of every node for two samples."""
    two = map_tensors(lambda tensor: torch.cat([tensor[:1]] * TWO), example)
    recorder = fx.Interpreter(graph.model, garbage_collect_values=False)
    recorder.run(*placeholder_values(graph, two))
    return {node: recorder.env[node] for node in graph.nodes if node in recorder.env}


def _sample_shape(value: Tensor) -> tuple[int, ...]:
    if value.ndim < 1 or len(value) != TWO:
        raise CircuitError(f"its result has shape {tuple(value.shape)} for {TWO} samples: samples must come first")
    return tuple(value.shape[1:])


def _front(graph: MaseGraph, nodes: list[fx.Node]) -> Callable[[Any], tuple[Floats, ...]]:
    """A function of the model's input that computes the float values of `nodes`."""
    return FloatFront(graph, [node.name for node in nodes])


class FloatFront:
    """Computes what comes to the ports of a circuit: the part of a model in front of its first rounding."""

    def __init__(self, graph: MaseGraph, names: list[str]) -> None:
        self._graph = graph
        module = copied_module(graph.model)
        by_name = {node.name: node for node in module.graph.nodes}
        output = next(node for node in module.graph.nodes if node.op == "output")
        output.args = (tuple(by_name[name] for name in names),)
        module.graph.eliminate_dead_code()
        module.recompile()
        self._module: nn.Module = module.eval()

    @torch.no_grad()
    def __call__(self, x: Any) -> tuple[Floats, ...]:
        """The values for the model's input `x`, in float64."""
        return tuple(np.asarray(own.double()) for own in self._module(*placeholder_values(self._graph, x)))
