"""Puts the wrappers that quantise into a traced model, and takes them out again without a trace."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from torch import fx

from chop.nn.quantized import Quantized


@dataclass(frozen=True)
class FloatNode:
    """What a node called before its operands were quantised."""

    op: str
    target: Any


@dataclass(frozen=True)
class WrappedNodes:
    """The nodes of a model that call a `Quantized` wrapper now, by name, each as it was in float."""

    known: dict[str, FloatNode] = field(default_factory=dict)

    def copy(self) -> WrappedNodes:
        """The same for a copy of the model."""
        return WrappedNodes(dict(self.known))

    def wrap(self, model: fx.GraphModule, node: fx.Node, wrapper: Quantized) -> None:
        """Let a node call `wrapper`: in place of its module, or beside a module that other nodes call too."""
        wrapper.train(model.training)
        target = str(node.target)
        self.known[node.name] = FloatNode(node.op, node.target)
        if node.op == "call_module" and self._calls_of(model, target) == 1:
            model.set_submodule(target, wrapper)
            return
        path = _free_path(model, node.name)
        model.add_submodule(path, wrapper)
        node.op, node.target = "call_module", path

    def restore_all(self, model: fx.GraphModule) -> None:
        """Let all nodes call again what they called in float."""
        nodes = {node.name: node for node in model.graph.nodes}
        for name, original in self.known.items():
            node = nodes[name]
            wrapper = model.get_submodule(str(node.target))
            assert isinstance(wrapper, Quantized)
            if node.target == original.target:
                model.set_submodule(str(node.target), wrapper.inner)  # type: ignore[arg-type]
            else:
                model.delete_submodule(str(node.target))
                node.op, node.target = original.op, original.target
        self.known.clear()

    def _calls_of(self, model: fx.GraphModule, target: str) -> int:
        """How often a module is called, counting nodes that have a wrapper of their own by now."""
        own = [name for name, original in self.known.items() if original.target == target]
        direct = [node.name for node in model.graph.nodes if node.op == "call_module" and node.target == target]
        return len({*own, *direct})


def _free_path(model: fx.GraphModule, name: str) -> str:
    path = f"{name}_quantized"
    while hasattr(model, path):
        path += "_"
    return path
