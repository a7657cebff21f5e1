"""Computes the tensors that operations read as parameters, also those made of other parameters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, fx, nn
from torch.nn.utils.parametrize import ParametrizationList

from chop.nn.own_tensors import as_read, has_unknown_pre_hooks, tensor_as_read

if TYPE_CHECKING:
    from chop.ir.graph.mase_graph import MaseGraph

Stamp = tuple[tuple[int, int], ...]


class MadeTensors:
    """Makes tensors of a graph's parameters in float, each once until one of the parameters changes."""

    def __init__(self) -> None:
        self._made: dict[tuple[str, str], tuple[Stamp, Tensor | None]] = {}

    def of_module(self, name: str, module: nn.Module, operand: str) -> Tensor | None:
        """The tensor `operand` as the module of node `name` reads it; None where it has none, or only a call tells."""
        if has_unknown_pre_hooks(module):
            return tensor_as_read(module, operand)
        if as_read(module) is module:
            return getattr(module, operand, None)
        sources = [*module.parameters(), *module.buffers()]
        return self._known((name, operand), sources, lambda: tensor_as_read(module, operand))

    def of_node(self, graph: MaseGraph, node: fx.Node) -> Tensor | None:
        """The value of a node that follows from parameters, buffers and constants alone; None for any other."""
        order: list[fx.Node] = []
        if not _is_constant(graph, node, order):
            return None
        attributes = {one: attribute_at(graph.model, str(one.target)) for one in order if one.op == "get_attr"}
        if node in attributes:
            return attributes[node] if isinstance(attributes[node], Tensor) else None
        sources = [value for value in attributes.values() if isinstance(value, Tensor)]
        called = (graph.inner(one) for one in order if one.op == "call_module")  # a rounded function is one, too
        modules = [inner for inner in called if isinstance(inner, nn.Module)]
        sources += [own for module in modules for own in (*module.parameters(), *module.buffers())]
        return self._known((node.name, ""), sources, lambda: _computed(graph, order, dict(attributes)))

    def _known(self, key: tuple[str, str], sources: Sequence[Tensor], make: Any) -> Tensor | None:
        stamp = tuple((tensor.data_ptr(), tensor._version) for tensor in sources)
        if key not in self._made or self._made[key][0] != stamp:
            with torch.no_grad():
                self._made[key] = (stamp, make())
        return self._made[key][1]


def _is_constant(graph: MaseGraph, node: fx.Node, order: list[fx.Node]) -> bool:
    """Whether a node follows from attributes of the model; `order` gets what it follows from, and itself."""
    if node in order:
        return True
    sources = node.all_input_nodes
    calls = node.op in ("call_function", "call_method", "call_module") and bool(sources)
    is_own = node.op == "get_attr" or (node.op == "call_module" and isinstance(graph.inner(node), ParametrizationList))
    if not is_own and not (calls and all(_is_constant(graph, source, order) for source in sources)):
        return False
    order.append(node)
    return True


def _computed(graph: MaseGraph, order: Sequence[fx.Node], values: dict[fx.Node, Any]) -> Tensor | None:
    for node in order:
        if node not in values:
            args, kwargs = fx.node.map_arg((node.args, dict(node.kwargs)), values.__getitem__)
            values[node] = graph.inner(node)(*args, **kwargs)
    found = values[order[-1]]
    return found if isinstance(found, Tensor) else None


def attribute_at(model: nn.Module, path: str) -> Any:
    """The tensor, or what else stands, at a dotted path below a model."""
    owner, _, name = path.rpartition(".")
    return getattr(model.get_submodule(owner), name)
