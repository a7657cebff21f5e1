"""Moves roundings next to the products whose sums they round: ONNX Runtime makes one integer operator of both."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

import onnx

from chop.exporters.onnx.skeleton import ROUNDED

COMMUTES = frozenset(("MaxPool", "Reshape", "Flatten", "Transpose", "Squeeze", "Unsqueeze", "Identity"))
"""Operators that choose among the values of their first input: rounding before or behind them is the same, since a
greater value never becomes the smaller one."""


def roundings_first(
    nodes: Sequence[onnx.NodeProto], kept: set[str], can_move: Callable[[onnx.NodeProto], bool]
) -> list[onnx.NodeProto]:
    """The nodes with each rounding that `can_move` before the operators that it commutes with, and that it alone reads.

    Values in `kept` are still made under their names.
    """
    readers = Counter(name for node in nodes for name in node.input)
    found: list[onnx.NodeProto] = []
    for node in nodes:
        place = len(found)
        found.append(node)
        while found[place].op_type == ROUNDED and can_move(found[place]):
            source = found[place].input[0]
            above = next((own for own in range(place) if source in found[own].output), None)
            if above is None or source in kept or readers[source] > 1 or not _commutes(found[above]):
                break
            found[above : above + 1] = _swapped(found.pop(place), found[above])
            place = above
    return found


def _commutes(node: onnx.NodeProto) -> bool:
    return node.op_type in COMMUTES and len(node.output) == 1


def _swapped(rounding: onnx.NodeProto, operator: onnx.NodeProto) -> list[onnx.NodeProto]:
    """A rounding behind an operator as a rounding in front of it."""
    first, second = onnx.NodeProto(), onnx.NodeProto()
    first.CopyFrom(rounding)
    second.CopyFrom(operator)
    first.input[0] = operator.input[0]
    second.output[0] = rounding.output[0]
    first.output[0] = second.input[0] = f"{rounding.output[0]}/{operator.op_type}"
    return [first, second]
