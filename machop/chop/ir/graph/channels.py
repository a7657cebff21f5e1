"""Finds the dimension of the channels of an op's operands and results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from torch import fx, nn

from chop.formats.layout import Layout
from chop.nn.node_config import channel_axis
from chop.nn.ops import Arg, Op

if TYPE_CHECKING:
    from chop.ir.graph.mase_graph import MaseGraph

VECTOR_OPS = ("linear", "layer_norm", "rms_norm", "embedding")
"""Ops whose channels are the last dimension."""

PRODUCTS = ("matmul", "bmm", "addmm")
ELEMENTWISE = ("add", "sub", "mul")


def channels_written(op: Op | None, ndim: int, known: Sequence[Any]) -> int | None:
    """The dimension of the channels of an op's result, where the op itself decides it."""
    if op is None:
        return None
    if op.name in ("linear", "embedding"):
        return ndim - 1
    if op.name in PRODUCTS:
        tensors = [fact for fact in known if fact is not None and hasattr(fact, "samples")]
        is_layer = len(tensors) > 1 and tensors[-1].samples == ()  # its second matrix is the same for all samples
        return ndim - 1 if is_layer else None
    if op.name.startswith("conv"):
        return ndim - 1 - spatial_dims(op)
    if op.name.startswith(("batch_norm", "group_norm", "instance_norm")):
        return 1
    return None


def channels_read(op: Op, operand: str, own: Layout, result: Layout | None) -> int | None:
    """The dimension, counted from the end, of the channels of an operand with the layout `own`."""
    if operand in op.params:
        return channel_axis(operand, op) - own.ndim if own.ndim > 1 else None
    if op.name in ELEMENTWISE and result is not None and result.channels is not None:
        return result.channels
    required = _required(op)
    if required is not None:
        return required if required < 0 else required - own.ndim
    return _usual(op, operand, own) if own.channels is None else own.channels


def _required(op: Op) -> int | None:
    """The dimension that an op takes for that of the channels, whatever came before."""
    if op.name.startswith("conv"):
        return -1 - spatial_dims(op)
    if op.name.startswith(("batch_norm", "group_norm", "instance_norm")):
        return 1
    return -1 if op.name == "linear" else None


def _usual(op: Op, operand: str, own: Layout) -> int | None:
    """The dimension of the channels of an operand of which nothing before it tells."""
    if "pool" in op.name:
        return -1 - spatial_dims(op)
    is_layer = op.name in PRODUCTS and operand == "weight" and own.samples == ()
    is_vectors = own.ndim == 2 and own.samples == (-2,)
    return -1 if is_layer or is_vectors or op.name in (*VECTOR_OPS, "scaled_dot_product_attention") else None


def channel_groups(graph: MaseGraph, node: fx.Node, op: Op) -> int:
    """The number of groups of an op's weight along its dimension 0."""
    if not op.name.startswith("conv_transpose"):
        return 1
    inner = graph.inner(node)
    given = inner.groups if isinstance(inner, nn.Module) else Arg(6, ("groups",)).of(node.args, node.kwargs)
    return given if isinstance(given, int) else 1


def spatial_dims(op: Op) -> int:
    """The number of dimensions after the channels.

    >>> from chop.nn.ops import op_of_module
    >>> from torch import nn
    >>> spatial_dims(op_of_module(nn.Conv2d(1, 1, 1)))
    2
    """
    return int(op.name.removesuffix("d")[-1])


def input_channels(node: fx.Node, shapes: Mapping[fx.Node, Any], ops: Mapping[str, Op]) -> int | None:
    """The dimension of the channels of a model's input: that which its first layer reads as such.

    Where no layer tells, it is the last for vectors and sequences, and dimension 1 for images.
    """
    shape = shapes[node]
    ndim = len(shape)
    waiting, met = [node], {node}
    while waiting:
        current = waiting.pop(0)
        for user in current.users:
            told = _told_by(user, ops, shapes, shape)
            if told is not None:
                return told % ndim
            if user not in met and shapes.get(user) == shape:
                met.add(user)
                waiting.append(user)
    return 1 if ndim > 3 else ndim - 1 if ndim else None


def _told_by(user: fx.Node, ops: Mapping[str, Op], shapes: Mapping[fx.Node, Any], shape: tuple[int, ...]) -> int | None:
    """The dimension of an input's channels as one of its readers shows it; None if the reader does not.

    Readers that show it are a layer, or a parameter with a single long dimension that is added or multiplied.
    """
    if user.name not in ops:
        return None
    op = ops[user.name]
    required = -1 if op.name in VECTOR_OPS else -1 - spatial_dims(op) if "pool" in op.name else _required(op)
    if required is not None:
        return required
    constants = [shapes[source] for source in user.all_input_nodes if source.op == "get_attr"]
    for own in constants if op.name in ELEMENTWISE else ():
        long = [dim - len(own) for dim, length in enumerate(own or ()) if length > 1]
        if len(long) == 1 and -len(shape) <= long[0] and shape[long[0]] == own[long[0]]:
            return long[0]
    return None
