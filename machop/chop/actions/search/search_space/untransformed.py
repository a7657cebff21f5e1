"""Names the products with a view of a parameter, which weight transforms do not reach."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from torch import fx

from chop.ir import MaseGraph
from chop.nn.node_config import WEIGHT, has_own_weights, is_transform_key

NO_CHANGE = (0, "nearest")
"""Values of transforms with which weights stay as they are."""


def untransformed(graph: MaseGraph, seed: Mapping[str, Any]) -> str:
    """What to warn of, for the lists of a space: transforms that miss products such as `x @ self.w.t()`, or empty."""
    lists = [entry.get("config", {}) for entry in seed.values() if isinstance(entry, Mapping)]
    keys = {key for own in lists for key, values in own.items() if is_transform_key(key) and _changes(values)}
    missed = _products_with_views(graph) if keys else []
    if not missed:
        return ""
    return (
        f"{', '.join(sorted(keys))}: left out for {', '.join(missed)}, which multiplies by a view of a parameter "
        "(x @ self.w.t(): write F.linear(x, self.w))"
    )


def _changes(values: Any) -> bool:
    return any(value not in NO_CHANGE for value in (values if isinstance(values, list) else [values]))


def _products_with_views(graph: MaseGraph) -> list[str]:
    """The nodes that take as weights what was computed from parameters alone."""
    ops = {name: op for name, op in graph.quantizable_nodes().items() if WEIGHT in op.args and not has_own_weights(op)}
    nodes = [node for node in graph.model.graph.nodes if node.name in ops]
    weights = {node: [arg.of(node.args, node.kwargs) for arg in ops[node.name].args[WEIGHT]] for node in nodes}
    return [node.name for node in nodes if _of_parameters(weights[node])]


def _of_parameters(values: Iterable[Any]) -> bool:
    """Whether values depend on parameters, and on no input."""
    left = [value for value in values if isinstance(value, fx.Node)]
    seen: set[fx.Node] = set()
    while left:
        node = left.pop()
        if node.op == "placeholder":
            return False
        if node not in seen:
            seen.add(node)
            left += node.all_input_nodes
    return any(node.op == "get_attr" for node in seen)
