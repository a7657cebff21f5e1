"""The kind of a node, in the words of users' scripts (`mase_type`, `mase_op`)."""

from __future__ import annotations

from torch import fx, nn

from chop.ir import MaseGraph


def mase_type(graph: MaseGraph, node: fx.Node) -> str:
    """module, module_related_func, builtin_func, implicit_func, placeholder, get_attr or output.

    A function that a layer of `torch.nn` also does is `module_related_func`, arithmetic on tensors `builtin_func`, what
    only moves values around `implicit_func`.
    """
    if node.op in ("placeholder", "get_attr", "output"):
        return node.op
    if isinstance(graph.inner(node), nn.Module):
        return "module"
    op = graph.op(node)
    if op is None:
        return "implicit_func"
    return "builtin_func" if op.is_python_builtin else "module_related_func"


def mase_op(graph: MaseGraph, node: fx.Node) -> str:
    """The op's name in the op table; for others the name of what is called."""
    op = graph.op(node)
    if op is not None:
        return op.name
    if node.op in ("placeholder", "get_attr", "output"):
        return node.op
    inner = graph.inner(node)
    name = type(inner).__name__ if isinstance(inner, nn.Module) else getattr(inner, "__name__", str(node.target))
    return name.lower()
