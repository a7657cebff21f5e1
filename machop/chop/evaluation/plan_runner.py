"""Runs a graph under any plan without changing it: the reference of the batched evaluator."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, fx, nn

from chop.evaluation.float_values import attribute, is_attribute, outputs_at
from chop.evaluation.operations import called
from chop.evaluation.plan_statistics import with_statistics
from chop.formats import Format
from chop.ir import MaseGraph, QuantPlan
from chop.ir.graph.inputs import placeholder_values, to_device
from chop.nn.closing import closed, is_open
from chop.nn.ops import STATISTICS, Op
from chop.nn.own_tensors import as_read, has_unknown_pre_hooks, with_tensors
from chop.nn.quantized import argument_slots, call_quantized, quantize_arguments, quantized_parameters, quantized_result
from chop.nn.under_plan import put_statistics
from chop.scoring.outputs import joined_outputs, with_samples
from chop.tools.model_outputs import OutputName, predictions_of

MOST_BYTES = 2**29
"""Bytes of node values that are kept from one plan to the next."""

WORTH_KEEPING = 0.25
"""Share of the nodes that must be as in the plan before for the values to be kept: keeping costs about a tenth."""

_KEEP = 64
"""Quantised parameter sets that are kept for each node."""


class _Step:
    """A node and what it calls, with all that can be known of the call beforehand."""

    def __init__(self, graph: MaseGraph, node: fx.Node, op: Op | None) -> None:
        self.node = node
        self.reads = tuple(node.all_input_nodes)
        self.reads_last: Sequence[fx.Node] = ()
        """Those of `reads` that no later node reads."""
        self.inner = graph.inner(node)
        self.may_change_at_a_call = False
        if isinstance(self.inner, nn.Module):
            self.inner = as_read(self.inner)
            self.may_change_at_a_call = has_unknown_pre_hooks(self.inner)
        self.call = called(self.inner)
        self.op = op
        self.slots = argument_slots(op, isinstance(self.inner, nn.Module)) if op is not None else ()
        self.own_operands = (*op.params, STATISTICS) if op is not None and (op.params or op.statistics) else ()
        """Operands that a module of this op holds itself."""
        sources = tuple(arg for arg in node.args if isinstance(arg, fx.Node))
        self._sources = sources if len(sources) == len(node.args) and not node.kwargs else None

    def arguments(self, values: dict[fx.Node, Any]) -> tuple[list[Any], dict[str, Any]]:
        """The arguments of the call, by place and by name."""
        if self._sources is not None:
            return [values[source] for source in self._sources], {}
        args, kwargs = fx.node.map_arg((self.node.args, dict(self.node.kwargs)), values.__getitem__)
        return list(args), dict(kwargs)


def _last_readers(nodes: Sequence[fx.Node]) -> dict[fx.Node, list[fx.Node]]:
    """For each node the nodes whose values nothing after it reads."""
    last = {source: node for node in nodes for source in node.all_input_nodes}
    found: dict[fx.Node, list[fx.Node]] = {}
    for source, reader in last.items():
        found.setdefault(reader, []).append(source)
    return found


class PlanRunner:
    """Predicts with `graph` (with its unchanged weights) under plans, on fixed batches `[(x, y), …]`.

    Each node's weights are quantised once per choice and kept. So are the values of a plan that has enough in common
    with the one before: then a node is computed anew only where its own formats, or something that it depends on, have
    changed. Else a value is let go with its last reader, so that its memory, still in the cache, is there for another.
    Nothing is kept of models whose values take more than half a gibibyte.

    With `measures` it measures what follows from the whole plan on its own samples (one batch: `measured`); else that
    is taken from the calibration samples of the graph. `samples_run` counts for each node the samples that it was
    computed on, over all plans.
    """

    @torch.no_grad()
    def __init__(
        self,
        graph: MaseGraph,
        batches: Iterable[tuple[Any, Any]],
        device: str = "cpu",
        output: OutputName = None,
        measures: bool = False,
    ) -> None:
        self.graph = graph
        self.output = output
        self.device = device
        self.measures = measures
        batches = list(batches)
        self._inputs = [placeholder_values(graph, to_device(x, device)) for x, _ in batches]
        self._sizes = [len(y) for _, y in batches]
        self.targets = torch.cat([y for _, y in batches]).to(device)
        self._targets = torch.split(self.targets, self._sizes)
        graph.model.to(device)
        graph.observe(batches[0][0])
        self._ops = graph.quantizable_nodes()
        self._weights: dict[str, dict[Any, dict[str, Tensor]]] = {name: {} for name in self._ops}
        self._bound: dict[str, dict[Any, Any]] = {name: {} for name in self._ops}
        self._nodes = graph.nodes
        last_readers = _last_readers(self._nodes)
        self._steps = [_Step(graph, node, self._ops.get(node.name)) for node in self._nodes]
        for step in self._steps:
            step.reads_last = last_readers.get(step.node, ())
        self._shares = True
        self._values: list[dict[fx.Node, Any]] = [{} for _ in batches]
        self._last: dict[str, dict[str, Format]] | None = None
        self._measured: dict[str, dict[str, Format]] = {}
        self.samples_run: Counter[str] = Counter()

    def predictions(self, plan: QuantPlan) -> Tensor:
        """The model's outputs for all samples, `(samples, *output)`."""
        found = [outputs for outputs, _ in self.stream(plan)]
        return found[0].clone() if len(found) == 1 else joined_outputs(found, self._sizes)

    def stream(self, plan: QuantPlan) -> Iterator[tuple[Tensor, Tensor]]:
        """The model's outputs `(samples, *output)` and the targets, batch by batch."""
        with torch.no_grad():
            plan = self.graph.freeze(plan)
            plan = plan if self.measures else with_statistics(self.graph, plan, self.device)
        chosen = {name: dict(formats) for name, formats in plan.choices}
        changed = self._changed(chosen)
        keeps = self._shares and len(changed) <= (1 - WORTH_KEEPING) * len(self._nodes)
        values, self._values = self._values, [{} for _ in self._inputs]  # whatever ends this early, none is half done
        stale = changed if values[0] else set(self._nodes)
        self.samples_run.update({node.name: len(self.targets) for node in stale})
        held = 0
        for number, targets in enumerate(self._targets):
            with torch.no_grad():  # left before a batch is handed on: what follows is the caller's own
                outputs = self._run(self._inputs[number], chosen, stale, values[number], keeps)
            if keeps:
                held += sum(value.nbytes for value in values[number].values() if isinstance(value, Tensor))
                self._shares = keeps = held <= MOST_BYTES
            if not keeps:
                for done in values[: number + 1]:
                    done.clear()
            yield with_samples(outputs, len(targets)), targets
        self._last = chosen
        if keeps:
            self._values = values

    @torch.no_grad()
    def measured(self, plan: QuantPlan) -> QuantPlan:
        """A frozen plan with everything open measured on the samples of this runner, which `measures`."""
        for _ in self.stream(plan):
            pass
        found = ((name, dict(formats)) for name, formats in plan.choices)
        return QuantPlan.of({name: self._measured[name] if is_open(own) else own for name, own in found})

    def _changed(self, chosen: dict[str, dict[str, Format]]) -> set[fx.Node]:
        """The nodes whose values differ from those of the plan before."""
        if self._last is None:
            return set(self._nodes)
        changed: set[fx.Node] = set()
        for step in self._steps:
            name = step.node.name
            if chosen.get(name) != self._last.get(name) or not changed.isdisjoint(step.reads):
                changed.add(step.node)
        return changed

    def _run(
        self,
        x: Sequence[Any],
        chosen: dict[str, dict[str, Format]],
        stale: set[fx.Node],
        values: dict[fx.Node, Any],
        keeps: bool,
    ) -> Tensor:
        inputs = iter(x)
        for step in self._steps:
            node = step.node
            if node.op == "placeholder":
                values[node] = next(inputs)
            elif node.op == "output":
                return predictions_of(outputs_at(self.graph, node, values), self.output)
            elif node in stale:
                values[node] = self._call(step, chosen.get(node.name), values)
            if not keeps:
                for source in step.reads_last:
                    del values[source]
        raise AssertionError("a graph ends in an output node")

    def _call(self, step: _Step, formats: dict[str, Format] | None, values: dict[fx.Node, Any]) -> Any:
        if step.node.op == "get_attr":
            return attribute(self.graph.model, str(step.node.target))
        args, kwargs = step.arguments(values)
        call = step.call
        if not formats:
            return call(*args, **kwargs)
        assert step.op is not None
        if self.measures and is_open(formats):
            formats = self._measured[step.node.name] = closed(step.inner, step.op, formats, args, kwargs)
        if step.may_change_at_a_call:
            return call_quantized(step.inner, step.op, formats, tuple(args), kwargs)
        if isinstance(step.inner, nn.Module):
            if step.own_operands:
                call = self._kept_weights(step, step.inner, step.op, formats)
            quantize_arguments(step.slots, formats, args, kwargs)
        else:
            kept = self._put_kept_parameters(step.node, step.op, formats, args)
            quantize_arguments([slot for slot in step.slots if slot[0] not in kept], formats, args, kwargs)
            put_statistics(step.op, formats, args, kwargs)
        result = call(*args, **kwargs)
        return quantized_result(result, step.op, formats)

    def _put_kept_parameters(self, node: fx.Node, op: Op, formats: dict[str, Format], args: list[Any]) -> set[str]:
        """Put weights that belong to the model, and are passed to a function, in their places, each quantised once.

        Returns the names of their operands.
        """
        known = self.graph.calibration.tensors
        kept = set()
        for operand, arg in op.params.items():
            is_own = is_attribute(arg.of(node.args, node.kwargs)) and (node.name, operand) in known
            if operand in formats and is_own and arg.index < len(args):
                args[arg.index] = self._kept_parameter(node.name, operand, formats)
                kept.add(operand)
        return kept

    def _kept_parameter(self, name: str, operand: str, formats: dict[str, Format]) -> Tensor:
        kept = self._weights[name]
        key = (operand, formats[operand])
        if key not in kept:
            if len(kept) >= _KEEP:
                kept.pop(next(iter(kept)))
            tensor = self.graph.calibration.tensors[name, operand].to(self.device)
            kept[key] = {operand: formats[operand].quantize(tensor)}
        return kept[key][operand]

    def _kept_weights(self, step: _Step, inner: nn.Module, op: Op, formats: dict[str, Format]) -> Any:
        """The call of a module with its weights in `formats`."""
        kept = self._bound[step.node.name]
        key = tuple(map(formats.get, step.own_operands))
        if key not in kept:
            if len(kept) >= _KEEP:
                kept.pop(next(iter(kept)))
            kept[key] = called(with_tensors(inner, quantized_parameters(inner, op, formats)))
        return kept[key]
