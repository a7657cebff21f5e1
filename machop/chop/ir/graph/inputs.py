"""Maps a model's input (a tensor, a tuple or a dictionary) to the placeholders of a graph."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch import Tensor

from chop.errors import GraphError
from chop.tools.model_inputs import map_tensors

if TYPE_CHECKING:
    from chop.ir.graph.mase_graph import MaseGraph


def placeholder_values(graph: MaseGraph, x: Any) -> list[Any]:
    """The values of the graph's placeholders for the input `x`, in order; missing arguments get their defaults.

    Raises GraphError for an input that the model's `forward` has no place for.
    """
    placeholders = [node for node in graph.nodes if node.op == "placeholder"]
    names = [str(node.target).lstrip("*") for node in placeholders]
    given = dict(x) if isinstance(x, dict) else dict(zip(names, _as_tuple(x), strict=False))
    if set(given) - set(names) or len(_as_tuple(x)) > len(names):
        got = ", ".join(given) if isinstance(x, dict) else f"{len(_as_tuple(x))} inputs"
        raise GraphError(f"the model takes ({', '.join(names)}), but the data gives {got}")
    return [given[name] if name in given else _default(node) for name, node in zip(names, placeholders, strict=True)]


def placeholder_keywords(graph: MaseGraph, x: Any) -> dict[str, Any]:
    """The input `x` as `{argument of forward: value}`."""
    names = [str(node.target) for node in graph.nodes if node.op == "placeholder"]
    return dict(zip(names, placeholder_values(graph, x), strict=True))


def to_device(x: Any, device: str) -> Any:
    """A copy of an input on `device`, in the same form: a model that works in place must not write on the data."""
    return map_tensors(lambda tensor: tensor.to(device, copy=True), x)


def _as_tuple(x: Any) -> tuple[Any, ...]:
    if isinstance(x, dict):
        return tuple(x.values())
    return (x,) if isinstance(x, Tensor) else tuple(x)


def _default(node: Any) -> Any:
    if not node.args:
        raise GraphError(f"the model's input '{node.target}' is given by no data")
    return node.args[0]
