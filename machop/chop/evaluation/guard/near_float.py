"""Checks that quantising changes nothing but the rounding, with formats that hardly round."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, fx

from chop.errors import ChopError, first_line
from chop.evaluation.guard.findings import Finding, Verdict
from chop.evaluation.guard.node_runs import SEED, called, copied, seed
from chop.formats import BlockFP, Format, Integer
from chop.formats.blocks import BlockFormat
from chop.ir import MaseGraph, QuantPlan
from chop.ir.calibration import Slot
from chop.ir.graph.inputs import placeholder_values
from chop.weight_transforms import format_of

CLOSE = 1e-5
"""Largest difference that so little rounding may make, relative to the largest output."""

READ_CURE = (
    "something else than this node sees what is rounded (it works in place, or reads a mask of huge values, or mixes "
    'samples): write it without, or leave the node in float32 (name = ["NA"], or setup.exclude)'
)

NOISE = 2.0**-23
"""Relative change of every value, about as much as the widest formats make, by which the network itself is judged."""

NOISE_SHARE = 30.0
"""How many times what such noise does a difference may be, in a network that amplifies it."""


@dataclass(frozen=True)
class WideKind:
    """Formats that round next to nothing, of one kind: those that share something within blocks, or all others."""

    name: str
    make: Callable[[str], Format]
    in_blocks: bool

    def stands_for(self, formats: Iterable[Format]) -> bool:
        """Whether there is a format of this kind among some."""
        rounding = [own for own in map(format_of, formats) if own is not None]
        return any(isinstance(own, BlockFormat) == self.in_blocks for own in rounding)


def _wide_block(operand: str) -> Format:
    is_activation = operand in ("data_in", "data_out")
    return BlockFP(width=24, exponent_width=8, block_size=(1, 16), is_activation=is_activation)


KINDS = (
    WideKind("fixed point of 32 bits, its range measured", lambda operand: Integer(32, "auto"), False),
    WideKind("blocks of 24 bits with a shared exponent", _wide_block, True),
)


def near_float(graph: MaseGraph, x: Any, formats: Mapping[Slot, Sequence[Format]]) -> Verdict:
    """Findings where a calibrated graph differs from float32 under formats that hardly round.

    They are of the kinds that each slot's `formats` are of. Each kind of op is tried alone, then all together; a
    difference is traced to the first node and operand that make it.
    """
    wanted, verdict = outputs(graph, x), Verdict()
    for kind in KINDS:
        trial = _Trial(graph, x, wanted, kind)
        slots = [slot for slot, own in formats.items() if kind.stands_for(own)]
        for group in _groups(graph, slots):
            if wrong := trial.wrong(group):
                verdict.findings.append(_traced(trial, group, wrong))
                break
        verdict.unchecked += [f"formats that hardly round, where they are refused: {why}" for why in trial.refused]
    return verdict


class _Trial:
    """Runs of one graph with one kind of wide format, compared with its outputs in float."""

    def __init__(self, graph: MaseGraph, x: Any, wanted: list[Tensor], kind: WideKind) -> None:
        self.graph, self.x, self.wanted, self.kind = graph, x, wanted, kind
        self._refused: dict[Slot, str] = {}

    def wrong(self, slots: Iterable[Slot]) -> str | None:
        """What is wrong with the outputs when the slots have wide formats; None where they are as in float.

        Slots that do not take such a format are left out, and kept in `refused`.
        """
        try:
            self._apply(slots)
            return self._difference(outputs(self.graph, self.x))
        except Exception as error:  # of the model's own code
            return str(error) if isinstance(error, ChopError) else first_line(error)

    def _apply(self, slots: Iterable[Slot]) -> None:
        """Give the slots the wide format, those that do not take it left out."""
        known = [slot for slot in slots if slot not in self._refused]
        try:
            self.graph.apply_plan(self._plan(known))
        except ChopError as error:
            if len(known) == 1:
                self._refused[known[0]] = str(error)
                self.graph.apply_plan(QuantPlan())
                return
            for slot in known:
                self._apply([slot])
            self._apply(known)

    def _plan(self, slots: Iterable[Slot]) -> QuantPlan:
        nodes: dict[str, dict[str, Format]] = {}
        for name, operand in slots:
            nodes.setdefault(name, {})[operand] = self.kind.make(operand)
        return QuantPlan.of(nodes)

    @property
    def refused(self) -> list[str]:
        """Why slots do not take such formats."""
        return list(self._refused.values())

    def _difference(self, got: list[Tensor]) -> str | None:
        if [(t.shape, t.dtype) for t in got] != [(t.shape, t.dtype) for t in self.wanted]:
            return "the outputs have other shapes or types than in float32"
        worst = max((relative_difference(a, b) for a, b in zip(self.wanted, got, strict=True)), default=0.0)
        is_close = worst <= CLOSE or worst <= self._noise * NOISE_SHARE
        return None if is_close else f"the outputs move by {worst:.2g} of the largest"

    @cached_property
    def _noise(self) -> float:
        """How far the outputs move, relative to the largest, when every node's result is changed a little at random."""
        generator = torch.Generator().manual_seed(SEED)

        def shaken(value: Any) -> Any:
            if not isinstance(value, Tensor) or not value.is_floating_point():
                return value
            signs = torch.rand(value.shape, generator=generator).to(value) * 2 - 1
            return value * (1 + NOISE * signs)

        self.graph.apply_plan(QuantPlan())
        pairs = zip(self.wanted, outputs(self.graph, self.x, shaken), strict=True)
        return max((relative_difference(a, b) for a, b in pairs), default=0.0)


def _groups(graph: MaseGraph, slots: Iterable[Slot]) -> list[list[Slot]]:
    """The slots of each kind of op, and all of them."""
    ops = graph.quantizable_nodes()
    by_op: dict[str, list[Slot]] = {}
    order = list(ops)
    for slot in sorted(slots, key=lambda slot: order.index(slot[0])):
        by_op.setdefault(ops[slot[0]].name, []).append(slot)
    groups = list(by_op.values())
    return groups if len(groups) < 2 else [*groups, [slot for group in groups for slot in group]]


def _traced(trial: _Trial, group: list[Slot], wrong: str) -> Finding:
    """The finding at the first node of a group, and its first operand, that suffice for a difference."""
    nodes = list(dict.fromkeys(name for name, _ in group))
    alone = ((name, [slot for slot in group if slot[0] == name]) for name in nodes)
    found = next(((name, own, why) for name, own in alone if (why := trial.wrong(own))), None)
    if found is None:
        return Finding(nodes[0], "", f"in formats that round next to nothing ({trial.kind.name}) {wrong}", READ_CURE)
    name, own, why = found
    single = next(((slot[1], cause) for slot in own if (cause := trial.wrong([slot]))), ("", why))
    return Finding(
        name, single[0], f"in a format that rounds next to nothing ({trial.kind.name}) {single[1]}", READ_CURE
    )


@torch.no_grad()
def outputs(graph: MaseGraph, x: Any, change: Callable[[Any], Any] = lambda value: value) -> list[Tensor]:
    """All tensors that a graph gives for `x`; `change` works on the result of every quantisable node."""
    values: dict[fx.Node, Any] = {}
    inputs = iter(copied(placeholder_values(graph, x)))
    names = graph.quantizable_nodes()
    seed()
    for node in graph.nodes:
        if node.op == "placeholder":
            values[node] = next(inputs)
            continue
        args, kwargs = fx.node.map_arg((node.args, dict(node.kwargs)), values.__getitem__)
        if node.op == "output":
            return tensors_in(args[0])
        result = called(graph, node, args, kwargs)
        values[node] = change(result) if node.name in names else result
    raise AssertionError("a graph ends in an output node")


def tensors_in(value: Any) -> list[Tensor]:
    """Copies of all tensors in a nested value, in order."""
    found: list[Tensor] = []
    fx.node.map_aggregate(value, lambda a: found.append(a.clone()) if isinstance(a, Tensor) else None)
    return found


def relative_difference(wanted: Tensor, got: Tensor) -> float:
    """The greatest difference, relative to the greatest finite value wanted; infinite where other places are finite."""
    if not torch.equal(wanted.isfinite(), got.isfinite()):
        return float("inf")
    known = wanted.isfinite()
    if not known.any() or not wanted.is_floating_point():
        return 0.0 if torch.equal(wanted[known], got[known]) else float("inf")
    difference, largest = (wanted - got)[known].abs().amax(), wanted[known].abs().amax()
    return float(difference / largest) if difference else 0.0
