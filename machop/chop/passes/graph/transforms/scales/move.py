"""Moves scales along groups of layers, and makes sure that the float network computes the same as before."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from chop.errors import PassError
from chop.ir import MaseGraph
from chop.passes.graph.analysis.metadata import Info
from chop.passes.graph.samples import placeholder_inputs, require_finite, running
from chop.passes.graph.transforms.fold_batch_norm import is_close, outputs_of
from chop.passes.graph.transforms.scales.groups import Group, groups_of
from chop.tools.terminal import table_of, terminal

USUAL_ALPHA = 0.5
LARGEST = 2.0**16
"""The greatest scale, and the inverse of the least."""
SETTLED = 1e-3

Ranges = Callable[[MaseGraph, Group], tuple[Tensor, Tensor]]
"""The ranges `(channels)` of what a group's source scales, and of the weights that read it."""


def require_alpha(name: str, alpha: Any) -> float:
    """`alpha` as a number; raises PassError unless it is one from 0 to 1."""
    if isinstance(alpha, bool) or not isinstance(alpha, (int, float)) or not 0 <= alpha <= 1:
        raise PassError(f"{name}: 0 <= alpha <= 1 must hold, got {alpha!r}")
    return float(alpha)


@dataclass(frozen=True)
class Moving:
    """How scales are moved: by which ranges, how strongly, and how many times over all groups."""

    name: str
    ranges: Ranges
    alpha: float
    rounds: int


def move_scales(graph: MaseGraph, moving: Moving, dummy_in: Mapping[str, Any] | None, shows: bool) -> Info:
    """Move scales in all groups of a graph, which must have no formats yet, and no offsets or ranges for any.

    A group is tried alone first, on `dummy_in`. Raises PassError, naming the nodes, where the outputs would change.
    """
    if graph.plan.choices:
        raise PassError(
            f"{moving.name}: formats, or measured statistics, are chosen already; run it before quantize and "
            "measure_batch_norm"
        )
    if graph.choice_offsets.values or graph.choice_ranges.values:
        raise PassError(
            f"{moving.name}: the weights were trained for a search space, with weights and ranges for each format; "
            "leave the pass out"
        )
    if dummy_in is None:
        raise PassError(f"{moving.name} needs dummy_in, {{argument: a few samples}}, to compare outputs on")
    found, left = groups_of(graph)
    what = f"{moving.name}: dummy_in"
    inputs = placeholder_inputs(graph, dummy_in, what)
    with running(what):
        wanted = outputs_of(graph, inputs)
    for value in wanted:
        require_finite(what, "output", value)
    groups = []
    for group in found:
        if _keeps_outputs(graph, group, inputs, wanted):
            groups.append(group)
        else:
            left[group.source] = "the outputs of the samples would change"
    scales = _moved(graph, groups, moving)
    now = outputs_of(graph, inputs)
    graph.forget_calibration()
    if not all(map(is_close, now, wanted)):
        raise PassError(f"{moving.name}: the outputs change with scales at {', '.join(scales)}; leave the pass out")
    moved = {
        group.source: {
            "into": [consumer.node for consumer in group.consumers],
            "scales": [float(scales[group.source].min()), float(scales[group.source].max())],
        }
        for group in groups
    }
    if shows:
        _show(moved, left)
    return {"moved": moved, "left": left}


def _keeps_outputs(graph: MaseGraph, group: Group, inputs: list[Any], wanted: Iterable[Tensor]) -> bool:
    """Whether the outputs stay the same with other scales in one group alone; the weights are put back."""
    before = [tensor.detach().clone() for tensor in group.tensors(graph.model)]
    draw = torch.rand(group.channels(graph.model), generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    group.move(graph.model, 0.25 * 16.0**draw)  # each channel by another
    try:
        return all(map(is_close, outputs_of(graph, inputs), wanted))
    finally:
        with torch.no_grad():
            for tensor, value in zip(group.tensors(graph.model), before, strict=True):
                tensor.copy_(value)


def _moved(graph: MaseGraph, groups: list[Group], moving: Moving) -> dict[str, Tensor]:
    """The scales of each group, by source: moved again until they settle, since groups share layers."""
    total = {group.source: torch.ones(group.channels(graph.model), dtype=torch.float64) for group in groups}
    for _ in range(moving.rounds):
        largest = 0.0
        for group in groups:
            first, second = (own.double() for own in moving.ranges(graph, group))
            scales = first.pow(moving.alpha) / second.pow(1 - moving.alpha)
            is_known = (first > 0) & (second > 0) & scales.isfinite()
            scales = torch.where(is_known, scales, 1.0).clamp(1 / LARGEST, LARGEST)
            group.move(graph.model, scales)
            total[group.source] *= scales
            largest = max(largest, float(scales.log().abs().max()))
        if largest < SETTLED:
            break
    return total


@torch.no_grad()
def consumers_range(graph: MaseGraph, group: Group) -> Tensor:
    """The greatest magnitude `(channels)` of the weights that read each channel."""
    channels, found = group.channels(graph.model), []
    for consumer in group.consumers:
        weight = consumer.weight.of(graph.model).abs()
        index = consumer.spread(torch.arange(channels, dtype=torch.float64), weight).expand(weight.shape).long()
        start = torch.zeros(channels, dtype=weight.dtype)
        found.append(start.scatter_reduce(0, index.flatten(), weight.flatten(), "amax"))
    return torch.stack(found).amax(0)


def _show(moved: Mapping[str, Any], left: Mapping[str, str]) -> None:
    rows = [(name, ", ".join(own["into"]), "{:.3g} … {:.3g}".format(*own["scales"]), "") for name, own in moved.items()]
    rows += [(name, "", "", why) for name, why in left.items()]
    headings = ("layer or norm", "scales moved into", "scales", "left alone, because")
    terminal().print(table_of(headings, rows, header_style="bold"))
