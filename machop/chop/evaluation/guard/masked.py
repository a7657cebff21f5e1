"""Checks that places which are masked in float32 stay masked in their formats, if the outputs depend on it."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from chop.errors import ChopError
from chop.evaluation.guard.findings import Finding
from chop.evaluation.guard.grid import is_masked
from chop.evaluation.guard.near_float import outputs
from chop.evaluation.guard.node_runs import NodeRun, node_runs
from chop.evaluation.guard.operands import FLOAT_CURE, FloatOperands
from chop.formats import Format
from chop.ir import MaseGraph, QuantPlan
from chop.ir.calibration import Slot

NAN_CURE = "look for it in the data and in the weights of the layers before"
WEIGHTS_CURE = "train the model anew, or load other weights"
MASK_CURE = f"mask behind the node, or with torch.where; or {FLOAT_CURE}"


def missing_value(graph: MaseGraph, known: FloatOperands, slots: Collection[Slot]) -> Finding | None:
    """The first operand in float32 with NaN, or of parameters with infinity, if that is in one of `slots`.

    What else is found follows from it.
    """
    ops = graph.quantizable_nodes()
    wrong = [slot for slot, tensors in known.items() if _misses_values(tensors, slot[1] in ops[slot[0]].params)]
    if not set(wrong) & set(slots):
        return None
    name, operand = wrong[0]
    if operand in ops[name].params:
        return Finding(name, operand, "it holds NaN or infinity", WEIGHTS_CURE)
    return Finding(name, operand, "it holds NaN on the first training samples", NAN_CURE)


def _misses_values(tensors: Sequence[Tensor], is_parameter: bool) -> bool:
    return any(bool((~tensor.isfinite() if is_parameter else tensor.isnan()).any()) for tensor in tensors)


def masked_findings(
    graph: MaseGraph, x: Any, known: FloatOperands, formats: Mapping[Slot, Sequence[Format]]
) -> Iterator[Finding]:
    """Places that are masked in float32 (infinite, or finfo.min) and no longer in one of a slot's formats."""
    masked = [slot for slot, tensors in known.items() if slot in formats and _holds_masked(tensors)]
    for name, operand in masked:
        for chosen in {type(chosen): chosen for chosen in formats[name, operand]}.values():
            if wrong := _unmasked(graph, x, (name, operand), chosen):
                yield Finding(name, operand, wrong, MASK_CURE)


def _unmasked(graph: MaseGraph, x: Any, slot: Slot, chosen: Format) -> str | None:
    """What becomes of masked places in a format, where they do not stay masked."""
    name, operand = slot
    try:
        graph.apply_plan(QuantPlan.of({name: {operand: chosen}}))
    except ChopError as error:
        return f"it holds masked places (infinite, or finfo.min), which {chosen} does not take ({error})"
    runs = node_runs(graph, x, {name: graph.quantizable_nodes()[name]})
    if all(_stays_masked(run, operand) for run in runs if isinstance(run, NodeRun)) or _unread(graph, x, slot):
        return None
    return f"places that are masked (infinite, or finfo.min) are not masked any more in {chosen}"


@dataclass(frozen=True)
class _Keeping:
    """Rounds as a format does, but for masked places."""

    chosen: Format

    def quantize(self, x: Tensor) -> Tensor:
        return torch.where(is_masked(x), x, self.chosen.quantize(x))


def _unread(graph: MaseGraph, x: Any, slot: Slot) -> bool:
    """Whether the outputs are the same when the masked places of a slot, whose format is applied, keep their values.

    Then they mask nothing: `torch.where` throws them away, or one is the logarithm of a distance of zero.
    """
    name, operand = slot
    rounded = outputs(graph, x)
    wrapper: Any = graph.model.get_submodule(str(graph.node(name).target))
    wrapper.formats[operand] = _Keeping(wrapper.formats[operand])
    return all(torch.equal(a.nan_to_num(), b.nan_to_num()) for a, b in zip(rounded, outputs(graph, x), strict=True))


def _holds_masked(tensors: Sequence[Tensor]) -> bool:
    return any(tensor.is_floating_point() and bool(is_masked(tensor).any()) for tensor in tensors)


def _stays_masked(run: NodeRun, operand: str) -> bool:
    if operand == "data_out":
        pairs = [(run.float_result, run.result)]
    else:
        call = run.call()
        got = call.operands(run.op).get(operand, []) if call is not None else []
        pairs = list(zip(run.float_call.operands(run.op).get(operand, []), got, strict=False))
    return all(torch.equal(_masks(before), _masks(after)) for before, after in pairs)


def _masks(x: Tensor) -> Tensor:
    """1 and -1 where `x` is masked above or below, else 0."""
    return torch.where(is_masked(x), x.sign().nan_to_num(), torch.zeros_like(x))
