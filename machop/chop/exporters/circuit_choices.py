"""Says which choices of a search space have an integer circuit, node by node, before anything is measured."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from typing import Any

import torch
from torch import Tensor, fx

from chop.circuits.from_graph import Builder, call_of, needed_for, two_samples
from chop.circuits.layers import Layer
from chop.circuits.movements import moves
from chop.circuits.stages import Port
from chop.errors import ChopError, CircuitError, FormatError
from chop.exporters.choices import Branch, Choices, Refused, RefusedChoices
from chop.formats import Format, OutputShift
from chop.formats.grid import Grid
from chop.formats.integer import Integer
from chop.ir import MaseGraph, QuantPlan
from chop.ir.graph.fitting import fitted
from chop.ir.learned import with_learned
from chop.nn.ops import STATISTICS

IN_PLACE_OF_OTHERS = Integer(8, 4)
"""A format that has a circuit at every operand; all operands that a question is not about have it."""

States = Mapping[fx.Node, bool]
"""Whether the values of nodes are rounded, and so in the circuit, or still in float."""


def refused_by_circuits(graph: MaseGraph, example: Any, choices: Choices, starts_in_float: bool = True) -> Refused:
    """The choices that no integer circuit computes, whatever the other nodes choose.

    Nodes are asked in the order of execution. Whether what comes to a node is rounded depends on the choices before it,
    so each node keeps the choices that have a circuit in every case that there may be. `starts_in_float`: nodes in
    front of the first rounding may compute in float, outside of the circuit.
    """
    walk = _Walk(graph, two_samples(graph, example), choices, starts_in_float)
    for node in needed_for(walk.output):
        walk.visit(node)
    refused = {node: walk.refused.get(node, [RefusedChoices()] * len(own)) for node, own in choices.items()}
    return Refused(walk.problems, refused)


class _Walk:
    """Goes through a graph, and notes of each node in which states its result can be."""

    def __init__(
        self, graph: MaseGraph, values: dict[fx.Node, Any], choices: Choices, starts_in_float: bool = True
    ) -> None:
        self.graph = graph
        self.starts_in_float = starts_in_float
        self.values = values
        self.choices = choices
        self.ops = graph.quantizable_nodes()
        self.output = next(node for node in graph.nodes if node.op == "output")
        self.states: dict[fx.Node, set[bool]] = {}
        self.refused: dict[str, list[RefusedChoices]] = {}
        self.problems: dict[str, str] = {}

    def visit(self, node: fx.Node) -> None:
        """Ask about all branches of a node, in all states of its sources."""
        cases = list(self._cases(node))
        if node.name in self.choices:
            asked = [self._asked(node, branch, cases) for branch in self.choices[node.name]]
            self.refused[node.name] = [refused for refused, _ in asked]
            self.states[node] = set(chain.from_iterable(states for _, states in asked))
        else:
            why, self.states[node] = self._tried(node, {}, cases)
            if why:
                self.problems[node.name] = why
        self.states[node] = self.states[node] or {True}  # what follows is asked all the same

    def _cases(self, node: fx.Node) -> Iterable[States]:
        """The states of a node's sources: all the same, or one that differs from the rest."""
        sources = [own for own in node.all_input_nodes if isinstance(self.values.get(own), Tensor)]
        found: list[States] = []
        for usual in (True, False):
            base = {own: usual if usual in self.states[own] else not usual for own in sources}
            others = [{**base, own: not base[own]} for own in sources if len(self.states[own]) > 1]
            found += [case for case in (base, *others) if case not in found]
        return found

    def _asked(self, node: fx.Node, branch: Branch, cases: Sequence[States]) -> tuple[RefusedChoices, set[bool]]:
        given = {operand: own for operand, own in branch.formats.items() if own}
        kinds = {operand: _kind(operand, own) for operand, own in given.items()}
        why, states = self._tried(node, kinds, cases)
        if why:
            return self._why_whole(node, kinds, cases, why), set()
        formats = {
            (operand, place): reason
            for operand, own in given.items()
            if operand != STATISTICS
            for place, chosen in enumerate(own)
            if (reason := self._format_problem(node, operand, chosen, cases[0]))
        }
        return RefusedChoices(formats=formats), states

    def _why_whole(
        self, node: fx.Node, kinds: Mapping[str, Format], cases: Sequence[States], why: str
    ) -> RefusedChoices:
        """A refused branch, with each operand that is to blame by itself for being in float."""
        operands = [own for own in self.ops[node.name].operands if own != "data_out"]
        everything: dict[str, Format] = dict.fromkeys(operands, IN_PLACE_OF_OTHERS)
        in_float = {}
        for operand in [own for own in everything if own not in kinds]:
            but = {own: chosen for own, chosen in everything.items() if own != operand}
            reason, _ = self._tried(node, but, cases)
            if reason:
                in_float[operand] = reason
        if in_float and not self._tried(node, {**everything, **kinds}, cases)[0]:
            return RefusedChoices(in_float=in_float)
        return RefusedChoices(whole=why)

    def _tried(
        self, node: fx.Node, formats: Mapping[str, Format], cases: Sequence[States]
    ) -> tuple[str | None, set[bool]]:
        """The first reason why a node has no circuit in one of the cases, and the states that its result can be in."""
        states: set[bool] = set()
        for case in cases:
            builder = _OneNode(self.graph, node, formats, self.values, case)
            try:
                builder._add(node)
                if node in builder.in_float:
                    self._require_movement(node)
            except CircuitError as error:
                return str(error), set()
            states.add(node in builder.result)
        return None, states

    def _require_movement(self, node: fx.Node) -> None:
        """Raise CircuitError for a node that computes in float, where nothing may."""
        is_input = node.op == "placeholder"
        if not (self.starts_in_float or is_input or moves(call_of(self.graph, node, self.values))):
            raise CircuitError("it computes in float in front of the first format; choose formats for it")

    def _format_problem(self, node: fx.Node, operand: str, chosen: Format, case: States) -> str | None:
        """The reason why no codes hold an operand in a format."""
        try:
            own = self._placed(node.name, operand, chosen)
            if operand in self.ops[node.name].params:
                self._codes(node, operand, own)
            else:
                self._round(node, operand, own, case)
        except CircuitError as error:
            return str(error).replace(str(own), str(chosen))
        except ChopError:
            return None  # a format that does not fit at all is refused by the search itself
        return None

    def _placed(self, node: str, operand: str, chosen: Format) -> Format:
        plan = with_learned(QuantPlan.of({node: {operand: chosen}}), self.graph.learned)
        plan = plan if self.graph.layouts is None else fitted(plan, self.graph.layouts)
        return plan[node].get(operand, chosen)

    def _codes(self, node: fx.Node, operand: str, chosen: Format) -> None:
        op = self.ops[node.name]
        parameter = self.graph.parameter(node, op, operand)
        if parameter is not None:
            call = call_of(self.graph, node, self.values)
            Layer(node.name, op, call, {operand: chosen}, {operand: parameter}, (), (), ()).constants(operand)

    def _round(self, node: fx.Node, operand: str, chosen: Format, case: States) -> None:
        """Round what comes to an operand, or the result; ranges are those of values that no scale fits by chance."""
        builder = _OneNode(self.graph, node, {}, self.values, case)
        args = self.ops[node.name].args.get(operand, ())
        read = [arg.of(node.args, node.kwargs) for arg in args] if operand != "data_out" else [node]
        for source in read:
            if isinstance(source, fx.Node) and isinstance(self.values.get(source), Tensor):
                fixed = _measured(chosen, self.values[source])
                builder._round(builder.result.get(source), operand, fixed, f"{node.name}_{operand}", source)


class _OneNode(Builder):
    """A builder that has taken up the sources of one node, in given states, and nothing else."""

    def __init__(
        self,
        graph: MaseGraph,
        node: fx.Node,
        formats: Mapping[str, Format],
        values: dict[fx.Node, Any],
        states: States,
    ) -> None:
        super().__init__(graph, QuantPlan.of({node.name: formats}), values)
        grid = Grid.of(0, -1, 1)
        for source, is_rounded in states.items():
            if is_rounded:
                self.stages.append(Port(source.name, (), tuple(values[source].shape[1:]), grid))
                self.result[source] = source.name
            elif source.op != "get_attr":
                self.in_float.append(source)


def _kind(operand: str, formats: Sequence[Format]) -> Format:
    """A format for the question of whether an operand may have one at all."""
    return formats[0] if operand == STATISTICS else IN_PLACE_OF_OTHERS


def _measured(chosen: Format, like: Tensor) -> Format:
    """A format with the range of values of this shape, on which no measured scale is a power of two."""
    if isinstance(chosen, OutputShift) or not chosen.is_measured:
        return chosen
    count = max(like.numel(), 1)
    spread = torch.linspace(-1.1, 1.3, count) if count > 1 else torch.tensor([1.3])
    try:
        return chosen.calibrated(spread.reshape(like.shape) if like.numel() else like.float())
    except FormatError:
        return chosen
