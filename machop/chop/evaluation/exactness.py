"""Decides whether float sums are exact, so that their order does not matter."""

from __future__ import annotations

from chop.formats.integer import FixedPoint
from chop.ir import MaseGraph


def sums_are_exact(graph: MaseGraph) -> bool:
    """Whether every layer that multiplies has only fixed-point operands, so that no sum is rounded."""
    ops = graph.quantizable_nodes()
    return all(
        isinstance(graph.plan[name].get(operand), FixedPoint)
        for name, op in ops.items()
        if op.multiplies
        for operand in op.operands
        if operand != "data_out"
    )
