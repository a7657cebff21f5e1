"""Measures the shifts of bias corrections: the mean error that a node's formats make on the calibration samples."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor, fx

from chop.errors import GraphError
from chop.formats import Format, OutputShift, ScaleInteger
from chop.ir.plan import QuantPlan
from chop.nn.channel_statistics import channel_statistics
from chop.nn.quantized import call_quantized
from chop.weight_transforms import format_of

if TYPE_CHECKING:
    from chop.ir.graph.mase_graph import MaseGraph


Wanted = tuple[tuple[float, ...], tuple[float, ...]]
"""Means and variances of channels."""


def with_shifts(graph: MaseGraph, plan: QuantPlan) -> QuantPlan:
    """The plan with every open shift measured; raises GraphError where no activations are known."""
    if all(_open_shift(dict(formats)) is None for _, formats in plan.choices):
        return plan
    return QuantPlan.of({name: _shifted(graph, name, dict(formats)) for name, formats in plan.choices})


def _open_shift(formats: Mapping[str, Format]) -> OutputShift | None:
    """The bias correction among a node's formats whose shift is still to be measured."""
    found = formats.get("data_out")
    return found if isinstance(found, OutputShift) and found.needs_activations else None


def _shifted(graph: MaseGraph, name: str, formats: dict[str, Format]) -> dict[str, Format]:
    open_shift = _open_shift(formats)
    if open_shift is None:
        return formats
    if open_shift.under_plan:
        return {**formats, "data_out": replace(open_shift, wanted=_wanted(graph, name, formats, open_shift.last))}
    shifts = graph.calibration.shifts
    key = (name, tuple(formats.items()))
    if key not in shifts:
        others = {operand: chosen for operand, chosen in formats.items() if operand != "data_out"}
        error = (_call_on_seen(graph, name, {}) - _call_on_seen(graph, name, others)).double()
        error = error if open_shift.last else error.movedim(1, -1)
        if not error.isfinite().all():
            raise GraphError(
                f"node '{name}': bias correction needs calibration batches of one shape, and finite results; "
                "leave bias_correction out, or pad the batches"
            )
        shifts[key] = tuple(error.flatten(0, -2).mean(0).tolist())
    return {**formats, "data_out": replace(open_shift, shift=shifts[key])}


def _wanted(graph: MaseGraph, name: str, formats: Mapping[str, Format], last: bool) -> Wanted:
    """The mean of each channel of a layer's float results, and the variance where its weights have a scale for each."""
    seen = graph.calibration.tensors.get((name, "data_out"))
    if seen is None:
        raise GraphError(f"node '{name}': bias correction needs activations; run calibrate_analysis_pass first")
    means, variances = channel_statistics(seen, -1 if last else 1).tolist()
    weight = format_of(formats.get("weight"))
    has_scales = isinstance(weight, ScaleInteger) and weight.granularity == "channel"
    return tuple(means), tuple(variances) if has_scales else ()


@torch.no_grad()
def _call_on_seen(graph: MaseGraph, name: str, formats: Mapping[str, Format]) -> Tensor:
    """The results of a node with `formats` on the activations that calibration saw."""
    node = graph.node(name)
    op, seen = graph.quantizable_nodes()[name], graph.calibration.tensors
    if (name, "data_in") not in seen:
        raise GraphError(f"node '{name}': bias correction needs activations; run calibrate_analysis_pass first")
    known: dict[fx.Node, Tensor] = {}
    slots = {**op.args, **({} if node.op == "call_module" else {name: (arg,) for name, arg in op.params.items()})}
    for operand, places in slots.items():
        for place in places:
            source = place.of(node.args, node.kwargs)
            if isinstance(source, fx.Node):
                known[source] = seen[name, operand]
    args, kwargs = fx.node.map_arg((node.args, dict(node.kwargs)), known.__getitem__)
    result: Tensor = call_quantized(graph.inner(node), op, formats, tuple(args), kwargs)
    return result
