"""Says what of a plan ONNX cannot express, and makes of it the network with quantised weights alone."""

from __future__ import annotations

import copy
from dataclasses import replace

from chop.errors import NodeProblem
from chop.exporters.base import ExportNetwork
from chop.exporters.onnx.steps import can_round
from chop.formats import Format, OutputShift
from chop.ir import QuantPlan
from chop.nn.ops import STATISTICS, Op

CURE = (
    "choose integer, integer_floor, scale_integer, minifloat_ieee, minifloat_denorm, ternary, or binary by tensor; or "
    "export with --weights-only, which leaves activations in float"
)


def problems_of(network: ExportNetwork) -> list[str]:
    """Why the roundings of a network cannot be exported, by node; empty where they can."""
    graph = network.graph
    if not list(graph.plan):
        return ["the whole network is in float: choose formats, or use torch.onnx.export for a float network"]
    found: list[str] = []
    for name in graph.plan:
        op = graph.op(graph.node(name))
        assert op is not None
        told = {operand: format_problem(op, operand, chosen) for operand, chosen in graph.plan[name].items()}
        found += [NodeProblem(name, f"{operand}: {why}") for operand, why in told.items() if why]
    return found


def format_problem(op: Op, operand: str, chosen: Format | None) -> str | None:
    """Why ONNX does not round an operand to a format, with the cure; parameters are stored rounded, in any format."""
    own = chosen.then if isinstance(chosen, OutputShift) else chosen
    if own is None or operand == STATISTICS or _is_parameter(op, operand) or can_round(own):
        return None
    return f"the operators of ONNX do not round to '{own}': {CURE}"


def _is_parameter(op: Op, operand: str) -> bool:
    return operand in op.params or operand in op.owned


def weights_alone(network: ExportNetwork) -> ExportNetwork:
    """The network with its parameters rounded and its activations in float; nobody has measured its scores."""
    graph = copy.deepcopy(network.graph)
    ops = graph.quantizable_nodes()
    kept = {
        name: {
            operand: chosen if _is_parameter(ops[name], operand) or operand == STATISTICS else _shift(chosen)
            for operand, chosen in graph.plan[name].items()
        }
        for name in graph.plan
    }
    chosen = {name: {key: own for key, own in formats.items() if own is not None} for name, formats in kept.items()}
    graph.apply_plan(QuantPlan.of(chosen))
    graph.model.eval()
    about = {key: own for key, own in network.about.items() if key != "metrics"}
    return replace(network, graph=graph, about=about, scores={})


def _shift(chosen: Format) -> Format | None:
    """An activation's format without its rounding: the bias correction alone."""
    return replace(chosen, then=None) if isinstance(chosen, OutputShift) else None
