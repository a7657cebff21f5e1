"""The network of every configuration of a product space at once: the stages of each node under each of its choices."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch import fx

from chop.circuits.from_graph import NO_CIRCUIT, Builder, two_samples
from chop.circuits.stages import Stage
from chop.errors import CircuitError
from chop.evaluation.program import Axis
from chop.ir import MaseGraph, QuantPlan


@dataclass(frozen=True)
class Step:
    """A node's stages: `choices[c]` are those under the alternative `c` of its axis (None: no integer circuit).

    `sources` are the steps whose results come in; stages call them by the names of these steps.
    """

    name: str
    axis: int | None
    sources: tuple[str, ...]
    choices: tuple[tuple[Stage, ...] | None, ...]


def steps_of(graph: MaseGraph, example: Any, axes: Sequence[Axis]) -> list[Step]:
    """The steps of a graph whose nodes choose their formats from `axes`, frozen ones; the last one is the output's.

    Raises CircuitError with the reasons where no alternative of a node has a circuit.
    """
    builds = _Builds(graph, axes, two_samples(graph, example))
    axis_of = {node: number for number, axis in enumerate(axes) for alternative in axis for node in alternative}
    made = {
        node: [builds.stages(node, axis_of.get(node), choice) for choice in range(builds.count(axis_of.get(node)))]
        for node in builds.base.made
    }
    owner = {stage.name: node for node, choices in made.items() for own in choices for stage in own or ()}
    return [
        Step(node, axis_of.get(node), _sources(choices, owner), tuple(_renamed(own, owner) for own in choices))
        for node, choices in made.items()
    ]


class _Builds:
    """The stages of nodes under alternatives, from as few passes over the graph as possible."""

    def __init__(self, graph: MaseGraph, axes: Sequence[Axis], values: dict[fx.Node, Any]) -> None:
        self.graph, self.axes, self.values = graph, axes, values
        sizes = [len(axis) for axis in axes]
        self.together = [
            self._built([min(number, size - 1) for size in sizes]) for number in range(max(sizes, default=1))
        ]
        self.alone: dict[tuple[int, int], Builder] = {}
        self.good = [self._good(axis) for axis in axes]
        self.base = self._built(self.good)
        if self.base.problems:
            raise CircuitError(NO_CIRCUIT, self.base.problems)

    def count(self, axis: int | None) -> int:
        return 1 if axis is None else len(self.axes[axis])

    def stages(self, node: str, axis: int | None, choice: int) -> list[Stage] | None:
        if axis is None:
            return self.base.made[node]
        if not any(build.problems for build in self.together):
            return self.together[choice].made.get(node)
        if (axis, choice) not in self.alone:  # a node that fails hides those behind it: one alternative at a time
            codes = [choice if number == axis else own for number, own in enumerate(self.good)]
            self.alone[axis, choice] = self._built(codes)
        return self.alone[axis, choice].made.get(node)

    def _built(self, codes: Sequence[int]) -> Builder:
        chosen = [axis[code] for axis, code in zip(self.axes, codes, strict=True)]
        plan = QuantPlan.of({node: own for axis in chosen for node, own in axis.items()})
        return Builder(self.graph, plan, self.values).built()

    def _good(self, axis: Axis) -> int:
        """An alternative whose nodes have no problem of their own; the first where there is none."""
        nodes = {node for alternative in axis for node in alternative}
        wrong = [{problem.node for problem in build.problems} for build in self.together[: len(axis)]]
        return next((number for number, own in enumerate(wrong) if not own & nodes), 0)


def _sources(choices: Sequence[Sequence[Stage] | None], owner: Mapping[str, str]) -> tuple[str, ...]:
    """The steps that any of the alternatives reads."""
    stages = [stage for own in choices for stage in own or ()]
    names = {stage.name for stage in stages}
    return tuple(dict.fromkeys(owner[name] for stage in stages for name in stage.sources if name not in names))


def _renamed(stages: Sequence[Stage] | None, owner: Mapping[str, str]) -> tuple[Stage, ...] | None:
    """The stages with outer sources called by the step that they belong to."""
    if stages is None:
        return None
    own = {stage.name for stage in stages}
    return tuple(
        replace(stage, sources=tuple(name if name in own else owner[name] for name in stage.sources))
        for stage in stages
    )
