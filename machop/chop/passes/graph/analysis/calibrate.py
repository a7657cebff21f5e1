"""The pass that runs samples through a graph, so that formats can measure ranges of activations."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from chop.dataset.rows import form_of, join
from chop.ir import MaseGraph, QuantPlan
from chop.ir.calibration import Slot
from chop.nn.masks import hidden
from chop.nn.own_tensors import has_unknown_pre_hooks
from chop.passes.graph.analysis.metadata import Info, PassArgs, check_args
from chop.passes.graph.registry import register_pass
from chop.passes.graph.samples import Batch, running, samples_argument, samples_of
from chop.tools.model_inputs import tensors_of

MOST_VALUES = 4_000_000
"""Values that are kept for each operand: whole rows, the first ones."""


@register_pass("calibrate", inputs={"input_generator": "batches"})
def calibrate_analysis_pass(graph: MaseGraph, pass_args: PassArgs = None) -> tuple[MaseGraph, Info]:
    """Run the FP32 baseline on some samples, so that formats can measure ranges ("auto", scales).

    `input_generator` is an iterable of {argument: batch}; the first `num_samples` rows of it are used. The graph's own
    formats are put back afterwards, measured anew. The info is {"rows": rows}.
    """
    args = check_args("calibrate", pass_args, ("input_generator", "num_samples"))
    batches = samples_of("calibrate", graph, args)
    in_float = copy.deepcopy(graph)
    in_float.apply_plan(QuantPlan())
    with running(samples_argument("calibrate")):
        activations, inputs = seen_activations(in_float, batches)
    graph.layouts = in_float.layouts
    graph.calibrate(activations, inputs)
    return graph, {"rows": sum(batch.rows for batch in batches)}


@torch.no_grad()
def seen_activations(graph: MaseGraph, batches: Iterable[Batch]) -> tuple[dict[Slot, Tensor], Any]:
    """The activations at each operand of a graph without formats on some samples.

    Returns them, and the samples in one batch (None if they have several forms). Leaves the model in eval mode.
    """
    recorder: _Recorder | None = None
    graph.model.eval()
    seen: list[Any] = []
    for batch in batches:
        seen.append(batch.samples)
        if recorder is None:
            graph.observe(batch.samples)
            recorder = _Recorder(graph)
        recorder.run(*batch.inputs)
    return recorder.activations() if recorder else {}, in_one_batch(seen)


def in_one_batch(batches: Sequence[Any]) -> Any:
    """The samples of all batches; None where they have several forms, or share a tensor."""
    if len(batches) < 2:
        return batches[0] if batches else None
    lengths = [{len(own) for own in tensors_of(x).values() if own.ndim} for x in batches]
    is_one_form = all(form_of(x) == form_of(batches[0]) for x in batches)
    return join(batches) if is_one_form and all(len(own) == 1 for own in lengths) else None


class _Recorder(fx.Interpreter):
    """Runs the float graph and keeps what flows into, and out of, every node that can be quantised."""

    def __init__(self, graph: MaseGraph) -> None:
        super().__init__(graph.model)
        self.graph_ir = graph
        self.ops = graph.quantizable_nodes()
        self.known = frozenset(graph.calibration.stamps)
        self.seen: dict[Slot, list[Tensor]] = {}
        self.weights: dict[Slot, list[Tensor]] = {}
        """Parameters that the data decide, call by call."""

    def run_node(self, n: fx.Node) -> Any:
        op = self.ops.get(n.name)
        if op is None:
            return super().run_node(n)
        args, kwargs = self.fetch_args_kwargs_from_env(n)
        inner = self.graph_ir.inner(n)
        if isinstance(inner, nn.Module):
            with _read_by(inner) as read:
                result = super().run_node(n)
            args, parameters = read.args or args, {name: getattr(read.module, name, None) for name in op.params}
        else:
            result = super().run_node(n)
            parameters = {name: arg.of(args, kwargs) for name, arg in op.params.items()}
        for operand, slots in op.args.items():
            self._keep(self.seen, (n.name, operand), [hidden(slot.of(args, kwargs), slot.masks) for slot in slots])
        for operand, value in parameters.items():
            if (n.name, operand) not in self.known:
                self._keep(self.weights, (n.name, operand), [value])
        self._keep(self.seen, (n.name, "data_out"), [hidden(result, op.result_masks)])
        return result

    def activations(self) -> dict[Slot, Tensor]:
        """The values at each operand, and at parameters that follow from the data."""
        joined = {slot: _joined(parts) for slot, parts in self.seen.items()}
        return joined | {slot: _side_by_side(parts) for slot, parts in self.weights.items()}

    def _keep(self, seen: dict[Slot, list[Tensor]], slot: Slot, values: Sequence[Any]) -> None:
        floats = [value for value in values if isinstance(value, Tensor) and value.is_floating_point()]
        if not floats and seen is self.weights:
            return
        kept = seen.setdefault(slot, [])
        room = MOST_VALUES - sum(tensor.numel() for tensor in kept)
        if room > 0 and floats:
            kept += [tensor.clone() for tensor in _broadcast(floats)]


@dataclass
class _Read:
    """The arguments of a call of a module's forward, and that module with its tensors."""

    module: nn.Module
    args: tuple[Any, ...] | None = None


@contextmanager
def _read_by(module: nn.Module) -> Iterator[_Read]:
    """Notes what is behind the pre-hooks of a module that has some."""
    read = _Read(module)
    if not has_unknown_pre_hooks(module):
        yield read
        return

    def note(called: nn.Module, args: tuple[Any, ...], result: Any) -> None:
        read.module, read.args = called, args

    handle = module.register_forward_hook(note)
    try:
        yield read
    finally:
        handle.remove()


def _broadcast(tensors: Sequence[Tensor]) -> Sequence[Tensor]:
    """The tensors of one operand (the two of an addition, say) in one shape, so that channels stay channels."""
    if len({tensor.shape for tensor in tensors}) == 1:
        return tensors
    try:
        return torch.broadcast_tensors(*tensors)  # type: ignore[no-any-return, no-untyped-call]
    except RuntimeError:  # query, key and value of attention
        return tensors


def _joined(parts: list[Tensor]) -> Tensor:
    """All rows of an operand; shorter ones are filled up with minus infinity, which no format measures."""
    if not parts:
        return torch.zeros(0)
    if len({part.ndim for part in parts}) > 1 or not parts[0].ndim:
        return torch.cat([part.flatten() for part in parts])
    lengths = [max(part.shape[dim] for part in parts) for dim in range(1, parts[0].ndim)]
    return torch.cat([_filled_up(part, lengths) for part in parts])


def _filled_up(part: Tensor, lengths: Sequence[int]) -> Tensor:
    missing = [most - own for most, own in zip(lengths, part.shape[1:], strict=True)]
    if not any(missing):
        return part
    return F.pad(part, [amount for length in reversed(missing) for amount in (0, length)], value=-math.inf)


def _side_by_side(parts: list[Tensor]) -> Tensor:
    """Weights of several calls, such that output channels stay output channels."""
    return torch.cat(parts, -1 if parts[0].ndim > 1 else 0)
