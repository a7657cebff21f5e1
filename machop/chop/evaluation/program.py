"""Compiles a graph and its choices to a list of stages, ordered by the last choice that each depends on."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx, nn

from chop.errors import GraphError
from chop.evaluation.call_template import CallTemplate
from chop.evaluation.float_values import batch_rows, float_values, is_attribute, nodes_with_rows, outputs_at
from chop.evaluation.measured_norm import MeasuredNorm, ShiftUnderPlan, Statistics
from chop.evaluation.norm_call import norm_call
from chop.evaluation.operations import (
    AddBias,
    BatchNorm,
    Call,
    Elementwise,
    Linear,
    Operation,
    Quantise,
    Slot,
    is_hooked,
)
from chop.formats import Format
from chop.ir import MaseGraph
from chop.nn.masks import MaskRule
from chop.nn.ops import STATISTICS, Arg, Op
from chop.nn.own_tensors import as_read, has_unknown_pre_hooks
from chop.scoring.outputs import with_samples
from chop.tools.model_outputs import OutputName, predictions_of

ELEMENTWISE = frozenset(
    ("relu", "relu6", "gelu", "silu", "tanh", "sigmoid", "selu", "softplus", "softsign", "dropout", "add", "sub", "mul")
)
"""Ops that treat each element of vectors alike, whatever the layout."""

FIXED = -1
"""The level of what depends on no choice."""

Alternative = Mapping[str, Mapping[str, Format]]
"""What one choice means: for each of its nodes, the formats of the operands, all frozen."""


Axis = Sequence[Alternative]
"""One decision: its alternatives, by number."""

Pick = Callable[[Mapping[str, Format]], Hashable]


@dataclass(frozen=True)
class Stage:
    """An operation on the values of other stages.

    `choices` are the distinct things that the alternatives of `axis` mean for it, `choice_ids` says which alternative
    means which; without an axis there is one.
    """

    operation: Operation
    inputs: tuple[int, ...]
    level: int
    choices: tuple[Hashable, ...] = ((),)
    axis: int | None = None
    choice_ids: np.ndarray[Any, Any] | None = None


@dataclass(frozen=True)
class Program:
    """A program: its `stages`, the numbers of the input stages, and the number of the output stage.

    `needed` are the stages that are computed, None for all.
    """

    stages: list[Stage]
    placeholders: list[int]
    constants: dict[int, Any]
    output: int
    example: Tensor
    """The output for a batch in float, its first row alone."""

    needed: frozenset[int] | None = None

    @cached_property
    def levels(self) -> int:
        """How many axes the output depends on, counted from the first to the last of them."""
        return 1 + max(self.stages[number].level for number in self._numbers)

    @cached_property
    def _numbers(self) -> list[int]:
        """The stages that are computed."""
        return [number for number in range(len(self.stages)) if self.needed is None or number in self.needed]

    def at(self, level: int) -> list[int]:
        """The numbers of the stages of a level, in the order of execution."""
        return [number for number in self._numbers if self.stages[number].level == level]

    @cached_property
    def statistics(self) -> list[int]:
        """The stages whose values are measured on calibration samples, and used for all others."""
        return [number for number in self._numbers if isinstance(self.stages[number].operation, Statistics)]

    @cached_property
    def measuring(self) -> Program | None:
        """What calibration samples run through: all that the statistics depend on; None where none depends on choices.

        Its output is the last of the statistics.
        """
        wanted = [number for number in self.statistics if self.stages[number].level > FIXED]
        if not wanted:
            return None
        needed: set[int] = set()
        waiting = list(wanted)
        while waiting:
            number = waiting.pop()
            if number not in needed:
                needed.add(number)
                waiting += self.stages[number].inputs
        return replace(self, output=wanted[-1], needed=frozenset(needed))

    @property
    def boundary(self) -> list[int]:
        """The stages without a choice that stages with one read."""
        moving = [number for number in self._numbers if self.stages[number].level > FIXED]
        read = {source for number in moving for source in self.stages[number].inputs}
        return sorted(number for number in {*read, self.output} if self.stages[number].level == FIXED)

    @property
    def is_planar(self) -> bool:
        """Whether all that depends on choices works on vectors, row by row, so that rows may be taken in any order."""
        moving = [stage.operation for stage in self.stages if stage.level > FIXED]
        return bool(moving) and all(
            isinstance(own, (Linear, AddBias, BatchNorm, Elementwise, Quantise, Statistics))
            or (isinstance(own, (MeasuredNorm, ShiftUnderPlan)) and own.is_vector)
            for own in moving
        )


def build_program(graph: MaseGraph, axes: Sequence[Axis], x: Any, output: OutputName = None) -> Program:
    """Build the program of a graph in eval mode.

    `x` is a batch, from which layouts are taken, `output` names the scored output.
    """
    return _Builder(graph, axes, x, output).build()


class _Builder:
    def __init__(self, graph: MaseGraph, axes: Sequence[Axis], x: Any, output: OutputName) -> None:
        self.graph = graph
        self.output = output
        self.axes = axes
        self.axis_of: dict[str, int] = {}
        for number, axis in enumerate(axes):
            for alternative in axis:
                self.axis_of |= dict.fromkeys(alternative, number)
        self.stages: list[Stage] = []
        self.constants: dict[int, Any] = {}
        self.placeholders: list[int] = []
        self.stage_of: dict[fx.Node, int] = {}
        self.seen = float_values(graph, x)
        self.rows = batch_rows(x)
        self.row_nodes = nodes_with_rows(graph, x, self.seen)
        self.row_stages: set[int] = set()

    @torch.no_grad()
    def build(self) -> Program:
        for node in self.graph.nodes:
            if node.op == "output":
                output, predictions = self._output(node)
                return Program(self.stages, self.placeholders, self.constants, output, predictions[:1].clone())
            self.stage_of[node] = self._stage(node)
            if node in self.row_nodes:
                self.row_stages.add(self.stage_of[node])
        raise AssertionError("a graph ends in an output node")

    def _stage(self, node: fx.Node) -> int:
        if node.op == "placeholder":
            self.placeholders.append(self._add(Call(None, (), {}), ()))
            return self.placeholders[-1]
        if node.op == "get_attr":
            number = self._add(Call(None, (), {}), ())
            self.constants[number] = self.seen[node]
            return number
        found = self._call(node)
        if self._chooses(node, "data_out"):
            op = self.graph.op(node)
            masks = None if op is None else op.result_masks
            opens = [formats["data_out"] for formats in self._alternatives(node) if "data_out" in formats]
            if any(chosen.is_open for chosen in opens):
                return self._shifted(node, op, found, masks)
            found = self._quantise(node, "data_out", found, masks)
        return found

    def _shifted(self, node: fx.Node, op: Op | None, source: int, masks: MaskRule | None) -> int:
        """The stages of a bias correction that is measured under the plan, and of the rounding behind it."""
        dim = -1 if op is not None and op.name == "linear" else 1
        own = self.seen[node].new_zeros(2, self.seen[node].shape[dim])
        statistics = self._add(Statistics(own, dim), [source], node, lambda formats: formats.get("data_out"))
        shift = ShiftUnderPlan(Quantise(masks), self._is_vector(node))
        found = self._add(shift, [source, statistics], node, lambda formats: formats.get("data_out"))
        if source in self.row_stages:
            self.row_stages.add(found)
        return found

    def _add(
        self, operation: Operation, inputs: Sequence[int], node: fx.Node | None = None, pick: Pick | None = None
    ) -> int:
        """A new stage; `pick` takes its choice from the formats of `node`."""
        meant: list[Hashable] = (
            [()] if pick is None or node is None else [pick(formats) for formats in self._alternatives(node)]
        )
        axis = self.axis_of[node.name] if node is not None and len(set(meant)) > 1 else None
        level = max([FIXED if axis is None else axis, *(self.stages[number].level for number in inputs)])
        stage = Stage(operation, tuple(inputs), level, (meant[0],))
        if axis is not None:
            known = {choice: number for number, choice in enumerate(dict.fromkeys(meant))}
            ids = np.array([known[choice] for choice in meant])
            stage = Stage(operation, tuple(inputs), level, tuple(known), axis, ids)
        self.stages.append(stage)
        return len(self.stages) - 1

    def _alternatives(self, node: fx.Node) -> list[Mapping[str, Format]]:
        """The formats of a node's operands in each alternative of its axis."""
        if node.name not in self.axis_of:
            return [{}]
        return [alternative.get(node.name, {}) for alternative in self.axes[self.axis_of[node.name]]]

    def _chooses(self, node: fx.Node, operand: str) -> bool:
        """Whether any alternative has a format for an operand of `node`."""
        return any(operand in formats for formats in self._alternatives(node))

    def _quantise(self, node: fx.Node, operand: str, source: int, masks: MaskRule | None) -> int:
        found = self._add(Quantise(masks), [source], node, lambda formats: formats.get(operand))
        if source in self.row_stages:
            self.row_stages.add(found)
        return found

    def _call(self, node: fx.Node) -> int:
        op = self.graph.op(node)
        inner = self._inner(node)
        values = self._call_values(node, op)
        if self._chooses(node, STATISTICS):
            return self._measured_norm(node, op, inner, values)
        lowered = self._lowered(node, op, inner, values)
        if lowered is not None:
            return lowered
        owned = self._owned(node, op, inner)
        template = CallTemplate(self.stage_of, values)
        args, kwargs = template.of(node)
        named: dict[str, tuple[Slot, Tensor]] = {}
        for operand, (place, tensor) in owned.items():
            named[operand] = (Slot(len(template.inputs) + len(named)), tensor)
            if isinstance(place, int):
                args[place] = named[operand][0]
            else:
                kwargs[place] = named[operand][0]
        operands = tuple(op.params) if op is not None and isinstance(inner, nn.Module) else tuple(named)
        has_rows = (*(number in self.row_stages for number in template.inputs), node in self.row_nodes)
        call = Call(inner, tuple(args), kwargs, named, has_rows)
        return self._add(call, template.inputs, node, lambda formats: _chosen(formats, operands))

    def _inner(self, node: fx.Node) -> Any:
        """What a node calls, a module with its tensors as it reads them.

        Raises GraphError where hooks of the user's own may change them at any call.
        """
        inner = self.graph.inner(node)
        if not isinstance(inner, nn.Module):
            return inner
        inner = as_read(inner)
        if has_unknown_pre_hooks(inner) and any(self._alternatives(node)):
            raise GraphError(f"node '{node.name}' has a forward pre-hook, which may change its weights at any call")
        return inner

    def _call_values(self, node: fx.Node, op: Op | None) -> dict[tuple[str, int], int]:
        """For the arguments that are operands with formats, the stage that rounds them."""
        found: dict[tuple[str, int], int] = {}
        if op is None or node.name not in self.axis_of:
            return found
        is_module = isinstance(self.graph.inner(node), nn.Module)
        slots = [(operand, arg) for operand, args in op.args.items() for arg in args]
        slots += [] if is_module else list(op.params.items())
        for operand, arg in slots:
            key, value = _argument(node, arg)
            if key is None or not isinstance(value, fx.Node) or not self._chooses(node, operand):
                continue
            if operand in op.params and value.op == "get_attr":
                continue  # the model's own: `_owned`
            found[key] = self._quantise(node, operand, self.stage_of[value], arg.masks)
        return found

    def _owned(self, node: fx.Node, op: Op | None, inner: Any) -> dict[str, tuple[int | str, Tensor]]:
        """The tensors of the model that a function takes as parameters and that have formats, with their places."""
        if op is None or isinstance(inner, nn.Module) or node.name not in self.axis_of:
            return {}
        found: dict[str, tuple[int | str, Tensor]] = {}
        for operand, arg in op.params.items():
            key, value = _argument(node, arg)
            is_own = isinstance(value, fx.Node) and value.op == "get_attr"
            if key is not None and is_own and self._chooses(node, operand):
                found[operand] = (arg.index if key[0] == "arg" else key[0], self.seen[value])
        return found

    def _lowered(self, node: fx.Node, op: Op | None, inner: Any, values: Mapping[Any, int]) -> int | None:
        """The stages of an op on vectors in planes, or None for anything else."""
        if op is None or not self._is_vector(node) or (isinstance(inner, nn.Module) and is_hooked(inner)):
            return None
        sources = [arg for arg in [*node.args, *node.kwargs.values()] if isinstance(arg, fx.Node)]
        is_decided = any(formats != self._alternatives(node)[0] for formats in self._alternatives(node))
        if not is_decided and all(self._level(source) == FIXED for source in sources):
            return None  # what comes before the first choice is computed once, as the model itself does
        if op.name == "linear" and self._is_vector(node.args[0] if node.args else None):
            return self._linear(node, op, inner, values)
        if op.name == "batch_norm1d" and type(inner) is nn.BatchNorm1d and inner.running_mean is not None:
            x = values.get(("arg", 0), self.stage_of[sources[0]])
            norm = BatchNorm(norm_call(node, op, inner, self.seen))
            return self._add(norm, [x], node, lambda f: (f.get("weight"), f.get("bias")))
        if op.name in ELEMENTWISE and sources and all(self._is_vector(source) for source in sources):
            template = CallTemplate(self.stage_of, values)
            args, kwargs = template.of(node)
            return self._add(Elementwise(inner, tuple(args), kwargs, op.name == "relu"), template.inputs)
        return None

    def _measured_norm(self, node: fx.Node, op: Op | None, inner: Any, values: Mapping[Any, int]) -> int:
        """The stages of a batch norm with statistics that are measured; raises GraphError for one with hooks."""
        assert op is not None
        norm = norm_call(node, op, inner, self.seen)
        place, source = _argument(node, op.args["data_in"][0])
        assert place is not None
        x = values.get(place, self.stage_of[source])
        own = torch.stack([norm.mean, norm.variance])
        statistics = self._add(Statistics(own), [x], node, lambda formats: formats.get(STATISTICS))
        normalise = MeasuredNorm(norm.weight, norm.bias, norm.eps, self._is_vector(node))
        return self._add(normalise, [x, statistics], node, lambda f: (f.get("weight"), f.get("bias")))

    def _linear(self, node: fx.Node, op: Op, inner: Any, values: Mapping[Any, int]) -> int | None:
        source = node.args[0]
        weight, bias = (self.graph.parameter(node, op, name) for name in ("weight", "bias"))
        is_plain = type(inner) is nn.Linear or not isinstance(inner, nn.Module)
        if weight is None or not is_plain or not isinstance(source, fx.Node):
            return None
        arguments = [arg.of(node.args, node.kwargs) for arg in op.params.values()]
        if not isinstance(inner, nn.Module) and not all(arg is None or is_attribute(arg) for arg in arguments):
            return None  # computed in forward, where other formats may have a part
        x = values.get(("arg", 0), self.stage_of[source])
        found = self._add(Linear(weight.detach()), [x], node, lambda formats: formats.get("weight"))
        if bias is None:
            return found
        return self._add(AddBias(bias.detach()), [found], node, lambda formats: formats.get("bias"))

    def _level(self, node: fx.Node) -> int:
        return self.stages[self.stage_of[node]].level

    def _is_vector(self, node: Any) -> bool:
        """Whether a node gives `(rows, features)`, floating."""
        value = self.seen.get(node) if isinstance(node, fx.Node) else None
        return isinstance(value, Tensor) and value.ndim == 2 and value.is_floating_point() and len(value) == self.rows

    def _output(self, node: fx.Node) -> tuple[int, Tensor]:
        """The stage of the tensor that counts as the model's predictions, and that tensor in float."""
        result = node.args[0]
        chosen = predictions_of(outputs_at(self.graph, node, self.seen), self.output)
        predictions = with_samples(chosen, self.rows)
        found: list[int] = []

        def note(source: fx.Node) -> fx.Node:
            if self.seen[source] is chosen:
                found.append(self.stage_of[source])
            return source

        fx.node.map_arg(result, note)
        if not found:
            raise GraphError(f"the model gives a {type(result).__name__}, in which no result of a node is found")
        return found[0], predictions


def _chosen(formats: Mapping[str, Format], operands: Sequence[str]) -> tuple[tuple[str, Format], ...]:
    return tuple((operand, formats[operand]) for operand in operands if operand in formats)


def _argument(node: fx.Node, arg: Arg) -> tuple[tuple[str, int] | None, Any]:
    """Where a call has an argument, and what stands there."""
    if arg.index < len(node.args):
        return ("arg", arg.index), node.args[arg.index]
    for keyword in arg.keywords:
        if keyword in node.kwargs:
            return (keyword, 0), node.kwargs[keyword]
    return None, None
