"""Converts graphs to plain values for other processes: `torch.fx` alone loses names and facts of nodes."""

from __future__ import annotations

import copyreg
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn

KEPT_META = ("val",)
"""The metadata of nodes that a graph itself reads; facts that passes found are not kept."""


@dataclass(frozen=True)
class NodeName:
    """Stands for a node among the arguments of another."""

    name: str


@dataclass(frozen=True)
class NodeRow:
    """A node as plain values; nodes among its arguments are `NodeName`s."""

    name: str
    op: str
    target: Any
    args: Any
    kwargs: Any
    meta: dict[str, Any]


@dataclass(frozen=True)
class PlainGraphModule:
    """An `fx.GraphModule`: its nodes in order, and what its module holds."""

    name: str
    training: bool
    modules: dict[str, nn.Module | None]
    parameters: dict[str, Tensor | None]
    buffers: dict[str, Tensor | None]
    not_saved: set[str]
    nodes: tuple[NodeRow, ...]
    codegen: Any
    """How arguments come in and results go out (exported models take and give nested ones)."""


class TracedModel(fx.GraphModule):
    """A traced model that can be pickled, by `torch.save` too, whatever has traced it."""

    def recompile(self) -> Any:
        """Compile the graph; unlike torch.fx's own, the module prints nothing where its forward fails."""
        code = super().recompile()
        type(self).__call__ = nn.Module.__call__  # type: ignore[method-assign]
        return code

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # torch's own, about the structure of exported outputs
            return super().__deepcopy__(memo)

    def __reduce__(self) -> tuple[Any, tuple[PlainGraphModule]]:
        return from_plain, (as_plain(self),)


def as_plain(model: fx.GraphModule) -> PlainGraphModule:
    """A traced model as values that `pickle` takes."""
    return PlainGraphModule(
        type(model).__name__,
        model.training,
        dict(model._modules),
        dict(model._parameters),
        dict(model._buffers),
        set(model._non_persistent_buffers_set),
        tuple(_row(node) for node in model.graph.nodes),
        model.graph._codegen,
    )


def from_plain(plain: PlainGraphModule) -> fx.GraphModule:
    """The traced model, its nodes called as they were."""
    root = nn.Module()
    _fill(root, plain)
    graph = _graph(plain.nodes)
    graph.set_codegen(plain.codegen)
    found = TracedModel(root, graph, plain.name)
    _fill(found, plain)  # torch.fx has taken over only what the nodes call now
    found.training = plain.training
    return found


def _fill(module: nn.Module, plain: PlainGraphModule) -> None:
    module._modules.update(plain.modules)
    module._parameters.update(plain.parameters)  # type: ignore[arg-type]
    module._buffers.update(plain.buffers)
    module._non_persistent_buffers_set |= plain.not_saved


def _row(node: fx.Node) -> NodeRow:
    args, kwargs = fx.node.map_arg((node.args, node.kwargs), lambda other: NodeName(other.name))  # type: ignore[arg-type, return-value]
    meta = {key: _shape_only(node.meta[key]) for key in KEPT_META if key in node.meta}
    return NodeRow(node.name, node.op, node.target, _plain(args), _plain(kwargs), meta)


def _plain(value: Any) -> Any:
    """The immutable containers of `torch.fx` as ordinary ones."""
    if isinstance(value, dict):
        return {key: _plain(part) for key, part in value.items()}
    if isinstance(value, list):
        return [_plain(part) for part in value]
    return tuple(map(_plain, value)) if type(value) is tuple else value


def _shape_only(value: Any) -> Any:
    """A tensor without values of the same type and rank, in place of one that belongs to a trace."""
    if isinstance(value, Tensor):
        return torch.empty((0,) * value.ndim, dtype=value.dtype, device="meta")
    return None


def _graph(rows: Iterable[NodeRow]) -> fx.Graph:
    graph = fx.Graph()
    known: dict[str, fx.Node] = {}
    for row in rows:
        args, kwargs = _with_nodes(row.args, known), _with_nodes(row.kwargs, known)
        known[row.name] = graph.create_node(row.op, row.target, args, kwargs, row.name)
        known[row.name].meta.update(row.meta)
    return graph


def _with_nodes(value: Any, known: dict[str, fx.Node]) -> Any:
    if isinstance(value, NodeName):
        return known[value.name]
    if isinstance(value, dict):
        return {key: _with_nodes(part, known) for key, part in value.items()}
    if isinstance(value, list):
        return [_with_nodes(part, known) for part in value]
    if isinstance(value, slice):
        return slice(*(_with_nodes(part, known) for part in (value.start, value.stop, value.step)))
    return tuple(_with_nodes(part, known) for part in value) if type(value) is tuple else value


def _overload(name: str, overload: str) -> Any:
    """The operator `namespace::name` of torch, in one of its overloads."""
    namespace, _, own = name.partition("::")
    return getattr(getattr(getattr(torch.ops, namespace), own), overload)


def _reduce_overload(op: Any) -> tuple[Any, tuple[str, str]]:
    return _overload, (op._schema.name, op._overloadname)


copyreg.pickle(torch._ops.OpOverload, _reduce_overload)
