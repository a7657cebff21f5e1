"""Helper functions for users' scripts: copy a graph, and ask for the op, kind and target of a node."""

from __future__ import annotations

import copy

from torch import fx

from chop.ir import MaseGraph
from chop.passes.graph.analysis.metadata import metadata_of


def deepcopy_mase_graph(graph: MaseGraph) -> MaseGraph:
    """A copy that shares nothing with `graph`: weights, formats and metadata are its own."""
    return copy.deepcopy(graph)


def get_mase_op(node: fx.Node) -> str:
    """The node's op (`linear`, `relu` …); needs common metadata."""
    return str(metadata_of(node, "common", "get_mase_op")["mase_op"])


def get_mase_type(node: fx.Node) -> str:
    """The node's kind (`module`, `builtin_func` …); needs common metadata."""
    return str(metadata_of(node, "common", "get_mase_type")["mase_type"])


def get_node_actual_target(node: fx.Node) -> object:
    """The target of a node now: its module (a `Quantized` one if quantised), function or method's name."""
    if node.op == "call_module":
        owner = node.graph.owning_module
        assert owner is not None
        return owner.get_submodule(str(node.target))
    return node.target
