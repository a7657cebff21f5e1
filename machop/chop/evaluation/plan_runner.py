"""Runs a graph under any plan without changing it: the one-at-a-time reference of the evaluator."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn

from chop.evaluation.float_values import attribute
from chop.evaluation.operations import Bound
from chop.evaluation.program import works_in_place
from chop.formats import Format
from chop.ir import MaseGraph, QuantPlan
from chop.ir.graph.inputs import placeholder_values, to_device
from chop.nn.ops import Op
from chop.nn.quantized import call_quantized, quantized_parameters
from chop.tools.get_input import predictions_of

MOST_BYTES = 2**29
"""Bytes of node values that are kept from one plan to the next."""

_KEEP = 64
"""Quantised parameter sets that are kept for each node."""


@dataclass(frozen=True)
class _Step:
    """A node and what it calls; `sources` are its arguments where all of them are nodes, and passed by their places."""

    node: fx.Node
    inner: Any
    sources: tuple[fx.Node, ...] | None

    def arguments(self, values: dict[fx.Node, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The arguments of the call, by place and by name."""
        if self.sources is not None:
            return tuple(values[source] for source in self.sources), {}
        args, kwargs = fx.node.map_arg((self.node.args, dict(self.node.kwargs)), values.__getitem__)
        return args, kwargs


def _sources(node: fx.Node) -> tuple[fx.Node, ...] | None:
    nodes = tuple(arg for arg in node.args if isinstance(arg, fx.Node))
    return nodes if len(nodes) == len(node.args) and not node.kwargs else None


class PlanRunner:
    """Predictions of `graph` (its pristine weights) for plans, on fixed batches `[(x, y), …]` of a device.

    Each node's weights are quantised once per choice and kept. So are the values of the plan before: a node is computed
    anew only where its own formats, or something that it depends on, have changed. Nothing is kept of models that work
    in place, or whose values take more than half a gibibyte.
    """

    def __init__(self, graph: MaseGraph, batches: Sequence[tuple[Any, Any]], device: str = "cpu") -> None:
        self.graph = graph
        self.device = device
        self._inputs = [to_device(x, device) for x, _ in batches]
        self.targets = torch.cat([y for _, y in batches]).to(device)
        self._ops = graph.quantizable_nodes()
        self._weights: dict[str, dict[Any, dict[str, Tensor]]] = {name: {} for name in self._ops}
        self._bound: dict[str, dict[Any, Bound]] = {name: {} for name in self._ops}
        graph.model.to(device)
        self._nodes = graph.nodes
        self._steps = [_Step(node, graph.inner(node), _sources(node)) for node in self._nodes]
        self._shares = not any(works_in_place(graph, node) for node in self._nodes)
        self._values: list[dict[fx.Node, Any]] = [{} for _ in batches]
        self._last: dict[str, dict[str, Format]] | None = None

    @torch.no_grad()
    def predictions(self, plan: QuantPlan) -> Tensor:
        """The model's outputs for all rows, `(rows, *output)`."""
        plan = self.graph.freeze(plan)
        chosen = {name: dict(formats) for name, formats in plan.choices}
        stale = self._stale(chosen)
        self._last = None  # whatever ends this run early, nothing half done is taken for whole
        found = torch.cat([self._run(x, chosen, stale, self._values[i]) for i, x in enumerate(self._inputs)])
        self._keep_or_forget(chosen)
        return found

    def _stale(self, chosen: dict[str, dict[str, Format]]) -> set[fx.Node]:
        """The nodes whose values differ from those of the plan before."""
        if self._last is None:
            return set(self._nodes)
        stale: set[fx.Node] = set()
        for node in self._nodes:
            is_changed = chosen.get(node.name) != self._last.get(node.name)
            if is_changed or any(source in stale for source in node.all_input_nodes):
                stale.add(node)
        return stale

    def _keep_or_forget(self, chosen: dict[str, dict[str, Format]]) -> None:
        held = [value for values in self._values for value in values.values() if isinstance(value, Tensor)]
        self._shares = self._shares and sum(value.nbytes for value in held) <= MOST_BYTES
        if self._shares:
            self._last = chosen
        else:
            self._values = [{} for _ in self._inputs]

    def _run(
        self, x: Any, chosen: dict[str, dict[str, Format]], stale: set[fx.Node], values: dict[fx.Node, Any]
    ) -> Tensor:
        inputs = iter(placeholder_values(self.graph, x if self._shares else to_device(x, self.device)))
        for step in self._steps:
            node = step.node
            if node.op == "placeholder":
                values[node] = next(inputs)
            elif node.op == "output":
                return predictions_of(fx.node.map_arg(node.args[0], values.__getitem__))
            elif node in stale:
                values[node] = self._call(step, chosen.get(node.name, {}), values)
        raise AssertionError("a graph ends in an output node")

    def _call(self, step: _Step, formats: dict[str, Format], values: dict[fx.Node, Any]) -> Any:
        node, inner = step.node, step.inner
        if node.op == "get_attr":
            return attribute(self.graph.model, str(node.target))
        args, kwargs = step.arguments(values)
        if not formats:
            return inner(*args, **kwargs)
        op = self._ops[node.name]
        return self._call_with_kept_weights(node.name, inner, op, formats, args, kwargs)

    def _call_with_kept_weights(
        self,
        name: str,
        inner: Any,
        op: Op,
        formats: dict[str, Format],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> Any:
        if not isinstance(inner, nn.Module):
            return self._call_function(name, inner, op, formats, args, kwargs)
        if not op.params:
            return call_quantized(inner, op, formats, args, kwargs)
        bound = self._kept_weights(name, inner, op, formats)
        others = {operand: chosen for operand, chosen in formats.items() if operand not in op.params}
        return call_quantized(bound, op, others, args, kwargs)

    def _call_function(
        self,
        name: str,
        function: Any,
        op: Op,
        formats: dict[str, Format],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> Any:
        """A function whose weights belong to the model: they are quantised once, and passed in their places."""
        known = self.graph.calibration.tensors
        kept = {operand: arg for operand, arg in op.params.items() if operand in formats and (name, operand) in known}
        places = {arg.index: operand for operand, arg in kept.items() if arg.index < len(args)}
        passed = tuple(
            self._kept_parameter(name, places[index], formats) if index in places else value
            for index, value in enumerate(args)
        )
        others = {operand: chosen for operand, chosen in formats.items() if operand not in places.values()}
        return call_quantized(function, op, others, passed, kwargs)

    def _kept_parameter(self, name: str, operand: str, formats: dict[str, Format]) -> Tensor:
        kept = self._weights[name]
        key = (operand, formats[operand])
        if key not in kept:
            if len(kept) >= _KEEP:
                kept.pop(next(iter(kept)))
            tensor = self.graph.calibration.tensors[name, operand].to(self.device)
            kept[key] = {operand: formats[operand].quantize(tensor)}
        return kept[key][operand]

    def _kept_weights(self, name: str, inner: nn.Module, op: Op, formats: dict[str, Format]) -> Bound:
        """A module with its weights in `formats`."""
        kept = self._bound[name]
        key = tuple(formats.get(operand) for operand in op.params)
        if key not in kept:
            if len(kept) >= _KEEP:
                kept.pop(next(iter(kept)))
            kept[key] = Bound(inner, quantized_parameters(inner, op, formats))
        return kept[key]
