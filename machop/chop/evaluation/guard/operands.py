"""Checks under coarse plans that every operand has the format of the plan when its node's function is called.

Grids are told from `grid`, calls from `recorder`; nothing of the wrapper, and no format's own rounding, is used.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from chop.evaluation.guard.findings import Finding
from chop.evaluation.guard.grid import WIDTH, Grid, is_far_off, is_masked
from chop.evaluation.guard.node_runs import NodeRun, Unseen, node_runs
from chop.formats import Format, Integer
from chop.ir import MaseGraph, QuantPlan
from chop.ir.calibration import Slot
from chop.nn.masks import MaskRule
from chop.nn.ops import Op
from chop.weight_transforms import Chain, Rounding, WeightTransform, transforms_of

FLOAT_CURE = 'leave the node in float32 (name = ["NA"], or setup.exclude)'
WEIGHT_CURE = (
    "where a hook or a forward of its own makes it anew in every call, put the made one in its place (prune.remove, "
    f"remove_weight_norm, remove_spectral_norm); or {FLOAT_CURE}"
)


@dataclass(frozen=True)
class ChainGrid:
    """A grid behind weight transforms."""

    transforms: tuple[WeightTransform, ...]
    grid: Grid

    def rounded(self, x: Tensor) -> Tensor:
        """Transformed weights on the grid."""
        for own in self.transforms:
            x = own.apply(x)
        rounding: Rounding = self.grid.rounded
        for own in reversed(self.transforms):
            rounding = partial(own.round, rounding=rounding)
        return rounding(x)


@dataclass(frozen=True)
class CoarsePlan:
    """Grids for some slots: all of one operand, or all that go into the nodes."""

    grids: Mapping[Slot, Grid | ChainGrid]

    @property
    def plan(self) -> QuantPlan:
        """The grids as formats."""
        nodes: dict[str, dict[str, Format]] = {}
        for (name, operand), own in self.grids.items():
            grid = _grid_alone(own)
            fractions = grid.fractions if len(grid.fractions) > 1 else grid.fractions[0]
            chosen = Integer(WIDTH, fractions, channel_axis=grid.axis)
            chain = Chain(own.transforms, chosen) if isinstance(own, ChainGrid) else chosen
            nodes.setdefault(name, {})[operand] = chain
        return QuantPlan.of(nodes)


def _grid_alone(own: Grid | ChainGrid) -> Grid:
    return own.grid if isinstance(own, ChainGrid) else own


FloatOperands = Mapping[Slot, Sequence[Tensor]]
"""The tensors of each slot, as the functions of the float graph receive and return them."""


def float_operands(graph: MaseGraph, x: Any, names: Collection[str]) -> tuple[FloatOperands, list[str]]:
    """The tensors of all slots of some nodes on `x`, and the nodes whose own call cannot be told from others."""
    found: dict[Slot, list[Tensor]] = {}
    unseen = []
    for run in node_runs(graph, x, {name: op for name, op in graph.quantizable_nodes().items() if name in names}):
        if isinstance(run, Unseen):
            unseen.append(run.name)
            continue
        own = run.float_call.operands(run.op)
        own["data_out"] = [run.float_result] if isinstance(run.float_result, Tensor) else []
        found |= {(run.name, operand): tensors for operand, tensors in own.items() if tensors}
    return found, unseen


def coarse_plans(graph: MaseGraph, known: FloatOperands, slots: Mapping[Slot, Sequence[Format]]) -> list[CoarsePlan]:
    """Plans that show which operands are read: each rounds some of them coarsely.

    One is for parameters alone (weights by output channel), one for activations, one for results, and one for all but
    results. A last one is for weights that may be transformed, as their last chain does it.
    """
    ops = graph.quantizable_nodes()
    grids = {slot: _grid(tensors) for slot, tensors in known.items() if slot in slots}
    params = {
        slot: _by_channel(ops[slot[0]], slot[1], known[slot], grid)
        for slot, grid in grids.items()
        if slot[1] in ops[slot[0]].params
    }
    results = {slot: grid for slot, grid in grids.items() if slot[1] == "data_out"}
    inputs = {slot: grid for slot, grid in grids.items() if slot not in results}
    activations = {slot: grid for slot, grid in inputs.items() if slot not in params}
    plans = [CoarsePlan(own) for own in (params, activations, results, inputs) if own]
    chains = {
        slot: ChainGrid(own, params.get(slot, inputs[slot])) for slot in inputs if (own := _transforms(slots[slot]))
    }
    return [*plans, CoarsePlan(chains)] if chains else plans


def _transforms(formats: Sequence[Format]) -> tuple[WeightTransform, ...]:
    """The transforms of a slot's last chain that need not be measured; none where no chain has any."""
    chains = (transforms_of(chosen) for chosen in reversed(formats))
    known = (tuple(one for one in own if not one.is_measured) for own in chains)
    return next((own for own in known if own), ())


def _grid(tensors: Sequence[Tensor]) -> Grid:
    floats = [tensor.flatten() for tensor in tensors if tensor.is_floating_point()]
    return Grid.clipping(torch.cat(floats) if floats else torch.ones(1))


def _by_channel(op: Op, operand: str, tensors: Sequence[Tensor], whole: Grid) -> Grid:
    """A fraction for each output channel of a weight of several dimensions; any other has the grid `whole`."""
    if operand != "weight" or tensors[0].ndim < 2:
        return whole
    return Grid.clipping(tensors[0], 1 if "transpose" in op.name else 0)


def operand_findings(graph: MaseGraph, x: Any, coarse: CoarsePlan, names: Mapping[str, Op]) -> Iterator[Finding]:
    """What differs from the plan at the nodes of `graph`, which has the coarse plan applied."""
    is_result = any(operand == "data_out" for _, operand in coarse.grids)
    for run in node_runs(graph, x, names):
        if isinstance(run, Unseen):
            continue
        call = run.call(is_last=not is_result)
        if call is not None:
            yield from _argument_findings(run, call.operands(run.op), coarse.grids)
            yield from _other_findings(run, call.others(run.op))
            yield from _result_findings(run, call.result, coarse.grids.get((run.name, "data_out")))


def _argument_findings(
    run: NodeRun, operands: Mapping[str, list[Tensor]], grids: Mapping[Slot, Grid | ChainGrid]
) -> Iterator[Finding]:
    for operand, wanted in run.float_call.operands(run.op).items():
        got = operands.get(operand, [])
        grid = grids.get((run.name, operand))
        for place, before in enumerate(wanted):
            after = got[place] if place < len(got) else None
            if after is None:
                yield Finding(run.name, operand, "it does not reach the function of the node", FLOAT_CURE)
            elif (wrong := _wrong(before, after, grid, _masks_of(run.op, operand, place))) is not None:
                yield Finding(run.name, operand, wrong, WEIGHT_CURE if operand in run.op.params else FLOAT_CURE)


def _other_findings(run: NodeRun, others: Mapping[str, Tensor]) -> Iterator[Finding]:
    for name, before in run.float_call.others(run.op).items():
        if name in others and not _equal(before, others[name]):
            yield Finding(run.name, name, "it has no format, and differs from its float32 value", FLOAT_CURE)


def _result_findings(run: NodeRun, returned: Any, grid: Grid | ChainGrid | None) -> Iterator[Finding]:
    is_plain = run.float_call.result is run.float_result  # no hook works on it
    before = run.float_result if grid is not None else returned
    if not is_plain or not isinstance(before, Tensor) or not isinstance(run.result, Tensor):
        return
    if (wrong := _wrong(before, run.result, grid, run.op.result_masks)) is not None:
        yield Finding(run.name, "data_out", wrong, FLOAT_CURE)


def _masks_of(op: Op, operand: str, place: int) -> MaskRule | None:
    slots = op.args.get(operand, ())
    return slots[place].masks if place < len(slots) else None


def _wrong(before: Tensor, after: Tensor, grid: Grid | ChainGrid | None, masks: MaskRule | None) -> str | None:
    """What is wrong with a tensor that was `before` and is handed on as `after`; None where it is right."""
    if after.shape != before.shape or after.dtype != before.dtype:
        return f"{_kind(before)} became {_kind(after)}"
    if not before.is_floating_point():
        return (
            None if torch.equal(before, after) else "it holds no floating-point numbers, and was rounded all the same"
        )
    if grid is None:
        return None if _equal(before, after) else "it has no format, and was rounded all the same"
    wanted = grid.rounded(before)
    known = ~is_masked(before)  # others are a matter of `masked`
    if masks is not None:  # only what is far off, and stays what it is, passes for masked
        known &= ~(masks.masked(before) & is_far_off(before) & (before == after))
    if _equal(wanted[known], after[known]):
        return None
    if not _equal(_grid_alone(grid).rounded(after)[known], after[known]):
        return "it has a format, and is not on its grid when the function is called"
    return "it is on the grid of its format, but is not what the float values round to"


def _equal(a: Tensor, b: Tensor) -> bool:
    return a.shape == b.shape and torch.allclose(a, b, rtol=0.0, atol=0.0, equal_nan=True)


def _kind(x: Tensor) -> str:
    return f"a {str(x.dtype).removeprefix('torch.')} tensor {tuple(x.shape)}"
