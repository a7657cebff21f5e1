"""Takes norms that were folded into the layer before them out of a graph: by the pass, and where a graph is loaded."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from torch import nn

if TYPE_CHECKING:
    from chop.ir.graph.mase_graph import MaseGraph


def remove_folded_norms(graph: MaseGraph, norms: Iterable[str]) -> None:
    """Take norms out of a graph, in place; the layer before each has a bias from then on."""
    for name in norms:
        node = graph.node(name)
        before = node.all_input_nodes[0]
        layer: Any = graph.model.get_submodule(str(before.target))
        if layer.bias is None:
            layer.bias = nn.Parameter(layer.weight.new_zeros(len(layer.weight)))
        node.replace_all_uses_with(before)
        graph.fx_graph.erase_node(node)
        graph.model.delete_submodule(str(node.target))
        graph.folded += (name,)
    graph.model.recompile()
