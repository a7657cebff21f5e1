"""Runs a graph node by node, and calls every quantisable node in float32 first, for comparison."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx

from chop.evaluation.guard.recorder import TorchCall, own_call, recorded
from chop.ir import MaseGraph
from chop.ir.graph.inputs import placeholder_values
from chop.nn.ops import Op

SEED = 0


@dataclass(frozen=True)
class NodeRun:
    """A node on the inputs that it has under the graph's plan: called in float, and as the graph has it."""

    name: str
    op: Op
    float_call: TorchCall
    float_result: Any
    calls: list[TorchCall]
    """Those of the float call's kind."""

    result: Any

    def call(self, is_last: bool = True) -> TorchCall | None:
        """The call of the node's own function as the graph makes it.

        Roundings before or after it may be calls of the same function, so the last one counts, or the first.
        """
        return self.calls[-1 if is_last else 0] if self.calls else None


@dataclass(frozen=True)
class Unseen:
    """A node in which the call of its own function cannot be told from the others."""

    name: str


@torch.no_grad()
def node_runs(graph: MaseGraph, x: Any, names: Mapping[str, Op]) -> Iterator[NodeRun | Unseen]:
    """The runs of the nodes `names` in the order of execution; the graph ends with its output, which is not seen."""
    values: dict[fx.Node, Any] = {}
    inputs = iter(copied(placeholder_values(graph, x)))
    seed()
    for node in graph.nodes:
        if node.op == "output":
            return
        if node.op == "placeholder":
            values[node] = next(inputs)
            continue
        args, kwargs = fx.node.map_arg((node.args, dict(node.kwargs)), values.__getitem__)
        if node.name not in names:
            values[node] = called(graph, node, args, kwargs)
            continue
        run = _node_run(graph, node, names[node.name], args, kwargs)
        values[node] = run.result if isinstance(run, NodeRun) else called(graph, node, args, kwargs)
        yield run


def _node_run(graph: MaseGraph, node: fx.Node, op: Op, args: Any, kwargs: Any) -> NodeRun | Unseen:
    own_args, own_kwargs = copied((args, kwargs))
    state = torch.get_rng_state()
    float_result, float_calls = recorded(lambda: graph.inner(node)(*own_args, **own_kwargs))
    float_call = own_call(op, float_result, float_calls)
    torch.set_rng_state(state)
    if float_call is None:
        return Unseen(node.name)
    result, calls = recorded(lambda: called(graph, node, args, kwargs), float_call.kind)
    return NodeRun(node.name, op, float_call, float_result, calls, result)


def called(graph: MaseGraph, node: fx.Node, args: Any, kwargs: Any) -> Any:
    """What a node of the graph gives as the graph has it now, formats included."""
    if node.op == "get_attr":
        value: Any = graph.model
        for part in str(node.target).split("."):
            value = getattr(value, part)
        return value
    if node.op == "call_module":
        return graph.model.get_submodule(str(node.target))(*args, **kwargs)
    return graph.inner(node)(*args, **kwargs)


def copied(values: Any) -> Any:
    """Nested values with every tensor copied."""
    return fx.node.map_aggregate(values, lambda a: a.clone() if isinstance(a, Tensor) else a)


def seed() -> None:
    """Let whatever a model draws on the CPU be drawn alike in every run."""
    torch.default_generator.manual_seed(SEED)
