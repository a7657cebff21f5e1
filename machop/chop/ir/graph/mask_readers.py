"""Finds the operands that may hold masked places: inputs of a softmax, a sigmoid or a maximum, and their sums."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from torch import fx, nn

from chop.nn.masks import FILL, LOWEST, NEGLIGIBLE, MaskRule
from chop.nn.ops import Arg, Op

if TYPE_CHECKING:
    from chop.ir.graph.mase_graph import MaseGraph

SOFTMAX = ("softmax", "log_softmax", "logsoftmax", "softmin", "logsumexp")
GATES = ("sigmoid", "logsigmoid", "softplus", "exp")
GREATEST = ("max_pool", "maxpool", "adaptive_max_pool", "adaptivemaxpool")
GREATEST_EXACTLY = ("max", "amax", "maximum", "topk", "sort", "argmax")
ATTENTION = ("scaled_dot_product_attention", "multiheadattention", "transformerencoderlayer", "transformerencoder")

SUMS = ("add", "sub", "mul", "iadd", "isub", "imul", "rsub", "subtract", "multiply")
SAME_LAYOUT = ("masked_fill", "where", "div", "truediv", "clone", "contiguous", "to", "type_as", "float", "clamp")
OTHER_LAYOUT = (
    *("view", "reshape", "transpose", "permute", "unsqueeze", "squeeze", "expand", "expand_as", "getitem", "flatten"),
    *("repeat", "slice", "select", "unflatten", "movedim", "swapaxes", "cat", "index_select", "roll", "_to_copy"),
)
MOVING = ("transpose", "permute", "movedim", "swapaxes", "flatten")
"""Calls behind which rows lie along another dimension."""


def with_masks(graph: MaseGraph, node: fx.Node, op: Op | None) -> Op | None:
    """The row of a call with the rules for what is masked in its operands and in its result."""
    if op is None:
        return None
    own = _read_by(graph, node, op.name)
    if own is not None and "data_in" in op.args and op.name not in ATTENTION:
        return replace(op, args={**op.args, "data_in": tuple(replace(arg, masks=own) for arg in op.args["data_in"])})
    rule = _passed_on(graph, node) if op.name in SUMS else None
    if rule is None:
        return op
    args = {name: tuple(replace(arg, masks=rule) for arg in slots) for name, slots in op.args.items()}
    return replace(op, args=args, result_masks=rule)


def _passed_on(graph: MaseGraph, node: fx.Node) -> MaskRule | None:
    """The rule of the nearest reader, where the results of a sum come to such readers alone."""
    waiting: list[tuple[fx.Node, bool]] = [(node, False)]
    met = {node}
    found: MaskRule | None = None
    while waiting:
        current, is_moved = waiting.pop(0)
        for user in current.users:
            name = _name(graph, user)
            rule = _read_by(graph, user, name)
            if rule is not None:
                found = found or replace(rule, dim=None if is_moved else rule.dim)
            elif name not in (*SUMS, *SAME_LAYOUT, *OTHER_LAYOUT):
                return None
            elif user not in met:
                met.add(user)
                waiting.append((user, is_moved or name in MOVING))
    return found and replace(found, floor=max(found.floor, FILL), both_signs=True)


def _read_by(graph: MaseGraph, node: fx.Node, name: str) -> MaskRule | None:
    """The rule for what a node reads, if it treats masked places as such."""
    if name in SOFTMAX:
        dim = _dim(graph.inner(node), node) if node.op.startswith("call_") else None
        return MaskRule(FILL, -1 if dim is None else dim)
    if name in GATES:
        return MaskRule(NEGLIGIBLE)
    if name in ATTENTION:
        return MaskRule(FILL, -1)
    return MaskRule(LOWEST) if name.startswith(GREATEST) or name in GREATEST_EXACTLY else None


def _dim(inner: Any, node: fx.Node) -> int | None:
    found = getattr(inner, "dim", None) if isinstance(inner, nn.Module) else Arg(1, ("dim",)).of(node.args, node.kwargs)
    return found if isinstance(found, int) else None


def _name(graph: MaseGraph, node: fx.Node) -> str:
    """What a node calls, in a word, whatever spells it."""
    if node.op not in ("call_module", "call_function", "call_method"):
        return ""
    row, inner = graph.table_row(node), graph.inner(node)
    if row is not None:
        return row.name
    if isinstance(inner, nn.Module):
        return type(inner).__name__.lower()
    name = str(getattr(inner, "__name__", inner)).partition(".")[0]
    return name.rstrip("_") if not name.startswith("_") else name
