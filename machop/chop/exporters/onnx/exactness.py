"""Finds the layers whose sums float32 does not hold exactly: their last bits depend on the library."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from chop.circuits.values import exact_codes
from chop.errors import CircuitError
from chop.exporters.onnx.steps import Steps, way_of
from chop.formats import Format
from chop.ir import MaseGraph
from chop.nn.ops import Op
from chop.weight_transforms import format_of

EXACT = 2.0**24
"""Whole numbers up to here, and sums of them in any order, are exact in float32."""


def inexact_sums(graph: MaseGraph) -> tuple[str, ...]:
    """The layers that multiply values in float, in formats that are no whole numbers times a power of two, or too wide.

    In the order of execution; the sums of all others are the same in any order.
    """
    ops = graph.quantizable_nodes()
    return tuple(name for name, op in ops.items() if op.multiplies and not _is_exact(graph, name, op))


def _is_exact(graph: MaseGraph, name: str, op: Op) -> bool:
    formats = graph.plan[name]
    factors = [operand for operand in op.operands if operand not in ("bias", "data_out")]
    sizes = [_codes(graph, name, op, operand, formats) for operand in factors]
    if "bias" in op.operands and "bias" not in formats:
        return False
    return all(own is not None for own in sizes) and float(np.prod([own or 0.0 for own in sizes])) < EXACT


def _codes(graph: MaseGraph, name: str, op: Op, operand: str, formats: Mapping[str, Format]) -> float | None:
    """By how much at most an operand multiplies a sum's codes; None where it has none."""
    chosen = formats.get(operand)
    if format_of(chosen) is None:
        return None
    assert chosen is not None
    value = graph.parameter(graph.node(name), op, operand) if operand in op.params else None
    if value is None:
        way = way_of(chosen)
        return _most(way) if isinstance(way, Steps) else None
    try:
        codes = np.abs(exact_codes(chosen.quantize(value.detach()).double().numpy(), 24).codes)
    except CircuitError:
        return None
    axes = tuple(own for own in range(codes.ndim) if own != (1 if op.name.startswith("conv_transpose") else 0))
    return float(codes.sum(axis=axes).max(initial=0))


def _most(steps: Steps) -> float | None:
    """The greatest magnitude of codes in the finest step; None where scales are no powers of two."""
    if (np.frexp(steps.scale)[0] != 0.5).any():
        return None
    low, high = (np.abs(own - steps.zero) * steps.spread(steps.scale) for own in (steps.low, steps.high))
    return float(np.maximum(low, high).max() / steps.scale.min())
