"""The op-table row of one particular call, completed from its arguments and observed tensors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from torch import Tensor, fx

from chop.formats.layout import Layout
from chop.nn.ops import Op


def of_call(op: Op | None, node: fx.Node) -> Op | None:
    """The row for a function or a method.

    Exported batch norms are one operator: the op table tells vectors from images. A product with a number has a single
    operand.
    """
    if op is None or node.op == "call_module":
        return op
    value = node.meta.get("val")
    if op.name == "batch_norm1d" and isinstance(value, Tensor) and value.ndim in (4, 5):
        return replace(op, name=f"batch_norm{value.ndim - 2}d")
    if op.name == "mul":
        tensors = [slots for slots in op.args.values() if isinstance(slots[0].of(node.args, node.kwargs), fx.Node)]
        return replace(op, args={"data_in": tensors[0]}) if len(tensors) == 1 else op
    return op


def with_layouts(op: Op, layouts: Mapping[str, Layout]) -> Op:
    """The row with the layouts of its operands; what is no floating-point tensor is no operand."""
    others = {name for name in op.args if name not in layouts or not layouts[name].is_floating}
    return replace(op, layouts=layouts, absent=op.absent | others)
