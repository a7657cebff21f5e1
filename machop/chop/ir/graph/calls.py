"""The op-table row of one particular call, completed from its arguments and observed tensors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from torch import Tensor, fx, nn

from chop.formats.layout import Layout
from chop.ir.graph.channels import channel_groups
from chop.ir.graph.made_tensors import attribute_at
from chop.ir.graph.plan_statistics import lacks_statistics
from chop.nn.ops import STATISTICS, Op, op_of_module

if TYPE_CHECKING:
    from chop.ir.graph.mase_graph import MaseGraph


def row_of_module(module: nn.Module) -> Op | None:
    """The op table's row for a module; None where its `forward` is not the one that the table knows."""
    op = op_of_module(module)
    known = next((cls for cls in type(module).__mro__ if op is not None and cls in op.modules), None)
    is_own = "forward" in vars(module) or known is None or type(module).forward is not known.forward
    return None if is_own else op


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


def ops_with_operands(graph: MaseGraph) -> dict[str, Op]:
    """The quantisable nodes of a graph with their rows, and what operands their calls lack.

    Nodes that turn out to compute with indexes, masks or sizes are among them: only a batch can tell.
    """
    ops = ((node, graph.op(node)) for node in graph.model.graph.nodes)
    return {
        node.name: replace(
            op,
            absent=_absent_operands(graph, node, op),
            owned=_owned_factors(graph, node, op),
            groups=channel_groups(graph, node, op),
        )
        for node, op in ops
        if op is not None and op.quantizable and _may_be_floating(node)
    }


def _may_be_floating(node: fx.Node) -> bool:
    """False for the arithmetic on indices and masks that an exported graph is full of."""
    value = node.meta.get("val")
    return not isinstance(value, Tensor) or value.is_floating_point()


def _owned_factors(graph: MaseGraph, node: fx.Node, op: Op) -> frozenset[str]:
    """The second factor of a product, where it is a parameter of the model as it stands."""
    given = [arg.of(node.args, node.kwargs) for arg in op.args.get("weight", ())]
    names = [str(own.target) for own in given if isinstance(own, fx.Node) and own.op == "get_attr"]
    owned = any(isinstance(attribute_at(graph.model, name), nn.Parameter) for name in names)
    return frozenset({"weight"}) if owned else frozenset()


def _absent_operands(graph: MaseGraph, node: fx.Node, op: Op) -> frozenset[str]:
    """The parameters that a call does not have, and the statistics of a batch norm that has none of its own."""
    inner = graph.inner(node)
    if isinstance(inner, nn.Module):
        absent = frozenset(name for name in op.params if getattr(inner, name, None) is None)
    else:
        absent = frozenset(name for name, arg in op.params.items() if arg.of(node.args, node.kwargs) is None)
    return absent | {STATISTICS} if lacks_statistics(op, inner, node) else absent
