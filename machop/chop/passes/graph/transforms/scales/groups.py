"""Finds layers between which scales of channels can be moved, with the reason where they cannot."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, fx, nn
from torch.nn.utils.parametrize import is_parametrized

from chop.ir import MaseGraph
from chop.ir.graph.made_tensors import attribute_at
from chop.nn.node_config import WEIGHT, inputs_axis
from chop.nn.ops import Op

LAYERS = frozenset(("linear", "conv1d", "conv2d", "conv3d"))
NORMS = frozenset(("batch_norm1d", "batch_norm2d", "layer_norm", "rms_norm"))
CONSUMERS = LAYERS | {"matmul", "addmm"}
KEEPING = frozenset(("relu", "dropout", "max_pool1d", "max_pool2d", "avg_pool1d", "avg_pool2d")) | frozenset(
    ("adaptive_avg_pool1d", "adaptive_avg_pool2d")
)
"""Ops that return a multiple, channel by channel, of what they return for an input, if the input is multiplied."""

MOVING = frozenset(("flatten", "view", "reshape", "contiguous", "clone", "slice", "select", "getitem")) | frozenset(
    ("squeeze", "unsqueeze", "expand")
)
"""Functions and methods that return values of their input in other places, by name."""


class UnfitError(Exception):
    """Why scales of a layer cannot be moved."""


@dataclass(frozen=True)
class Owned:
    """A parameter that one node alone reads: its place in the model."""

    path: str

    def of(self, model: nn.Module) -> Tensor:
        """The parameter itself, in a model."""
        found: Tensor = attribute_at(model, self.path)
        return found


@dataclass(frozen=True)
class Consumer:
    """A layer that reads scaled channels: its weights, and the dimension of the inputs in them."""

    node: str
    weight: Owned
    axis: int

    def spread(self, scales: Tensor, weight: Tensor) -> Tensor:
        """The scales `(channels)` in a shape that broadcasts to the weights; behind `flatten`, each for several inputs.

        Convolutions with groups read other channels in each.
        """
        axis = self.axis % weight.ndim
        length = weight.shape[axis]
        after = [1] * (weight.ndim - axis - 1)
        if axis == 1 and len(scales) > length:  # groups
            groups = len(scales) // length
            own = scales.reshape(groups, 1, length, *after)
            return own.expand(groups, len(weight) // groups, length, *after).flatten(0, 1)
        return scales.repeat_interleave(length // len(scales)).reshape(-1, *after)


@dataclass(frozen=True)
class Group:
    """A layer or norm `source`, whose `parameters` have its output channels first, and all that read its channels."""

    source: str
    parameters: tuple[Owned, ...]
    consumers: tuple[Consumer, ...]

    def channels(self, model: nn.Module) -> int:
        """The number of channels."""
        return len(self.parameters[0].of(model))

    def tensors(self, model: nn.Module) -> list[Tensor]:
        """All tensors that moving changes."""
        return [own.of(model) for own in (*self.parameters, *(one.weight for one in self.consumers))]

    @torch.no_grad()
    def move(self, model: nn.Module, scales: Tensor) -> None:
        """Divide the source's channels by `scales` `(channels)`, float64, and multiply what reads them."""
        for own in self.parameters:
            tensor = own.of(model)
            tensor.copy_(tensor.double() / scales.reshape(-1, *[1] * (tensor.ndim - 1)))
        for consumer in self.consumers:
            weight = consumer.weight.of(model)
            weight.copy_(weight.double() * consumer.spread(scales, weight))


def groups_of(graph: MaseGraph) -> tuple[list[Group], dict[str, str]]:
    """All groups in the order of execution, and for the other layers and norms why there is none."""
    groups, left = [], {}
    for name, op in graph.quantizable_nodes().items():
        if op.name not in LAYERS | NORMS:
            continue
        try:
            groups.append(_group(graph, graph.node(name), op))
        except UnfitError as reason:
            left[name] = str(reason)
    return groups, left


def _group(graph: MaseGraph, node: fx.Node, op: Op) -> Group:
    names = [name for name in ("weight", "bias") if name in op.params and name not in op.absent]
    if op.name in NORMS and "weight" not in names:
        raise UnfitError("it has no weights to scale")
    parameters = tuple(_owned(graph, node, op, name) for name in names)
    if parameters[0].of(graph.model).ndim > 1 and op.name in NORMS:
        raise UnfitError("it normalises several dimensions together")
    consumers = tuple(_consumers(graph, node))
    own = Group(node.name, parameters, consumers)
    for consumer in consumers:
        inputs = consumer.weight.of(graph.model).shape[consumer.axis]
        if inputs % own.channels(graph.model) and own.channels(graph.model) % inputs:
            raise UnfitError(
                f"'{consumer.node}' reads {inputs} inputs, which are not its {own.channels(graph.model)} channels"
            )
    return own


def _consumers(graph: MaseGraph, node: fx.Node) -> Iterator[Consumer]:
    """The layers that read a node's result, through ops that keep scales."""
    if not node.users:
        raise UnfitError("nothing reads its result")
    for user in node.users:
        op = graph.op(user)
        if (op is not None and op.name in KEEPING) or _moves_values(graph, user):
            yield from _consumers(graph, user)
        elif op is not None and op.name in CONSUMERS and op.args["data_in"][0].of(user.args, user.kwargs) is node:
            yield _consumer(graph, user)
        else:
            raise UnfitError(f"'{user.name}' reads its result, where scales of channels cannot be taken back")


def _consumer(graph: MaseGraph, user: fx.Node) -> Consumer:
    op = graph.quantizable_nodes().get(user.name)
    axis = inputs_axis(op) if op is not None else None
    if op is None or axis is None or (WEIGHT not in op.params and WEIGHT not in op.owned):
        raise UnfitError(f"the second factor of '{user.name}' is no parameter")
    return Consumer(user.name, _owned(graph, user, op, WEIGHT), axis)


def _moves_values(graph: MaseGraph, node: fx.Node) -> bool:
    """Whether a node returns the values of its input in other places: whether channels stay, samples show."""
    if node.op == "call_module":
        return isinstance(graph.model.get_submodule(str(node.target)), (nn.Flatten, nn.Unflatten, nn.Identity))
    name = node.target if isinstance(node.target, str) else getattr(node.target, "__name__", "")
    return node.op in ("call_function", "call_method") and name.partition(".")[0] in MOVING


def _owned(graph: MaseGraph, node: fx.Node, op: Op, operand: str) -> Owned:
    """The place of a parameter; raises UnfitError where another node reads it, or something makes it."""
    inner = graph.inner(node)
    if isinstance(inner, nn.Module):
        if (
            operand not in inner._parameters
            or is_parametrized(inner)
            or inner._forward_hooks
            or inner._forward_pre_hooks
        ):
            raise UnfitError(f"the {operand} of '{node.name}' is made by a hook or a parametrisation")
        path = f"{node.target}.{operand}"
    else:
        place = op.params.get(operand) or op.args[operand][0]
        given = place.of(node.args, node.kwargs)
        if not isinstance(given, fx.Node) or given.op != "get_attr":
            raise UnfitError(f"the {operand} of '{node.name}' is no parameter of the model")
        path = str(given.target)
    _require_alone(graph, node, path)
    return Owned(path)


def _require_alone(graph: MaseGraph, node: fx.Node, path: str) -> None:
    tensor = attribute_at(graph.model, path)
    storage = tensor.untyped_storage().data_ptr()
    for other in graph.nodes:
        if other is not node and other.op == "call_module":
            module = graph.model.get_submodule(str(other.target))
            if any(own.untyped_storage().data_ptr() == storage for own in module.parameters()):
                raise UnfitError(f"'{other.name}' reads the same tensor as '{node.name}'")
        if other.op == "get_attr" and isinstance(own := attribute_at(graph.model, str(other.target)), Tensor):
            readers = [user.name for user in other.users if user is not node]
            if own.untyped_storage().data_ptr() == storage and readers:
                raise UnfitError(f"'{readers[0]}' reads the same tensor as '{node.name}'")
