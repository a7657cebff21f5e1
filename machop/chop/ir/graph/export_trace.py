"""Traces models with `torch.export`, for those that `torch.fx` cannot trace, and names nodes by module path."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stderr
from io import StringIO
from pathlib import Path
from traceback import extract_tb
from typing import Any

import torch
from torch import Tensor, fx, nn

from chop.errors import first_line
from chop.ir.graph.pickled import TracedModel
from chop.ir.graph.traced_conditions import TracedConditions, conditions_of
from chop.nn.ops import op_of_function, op_of_module
from chop.tools.logger import silenced

GUARDS = "_guards_fn"
"""The module, called by that name as torch calls it, that checks what a graph rests on."""

SHAPES = "torch.fx.experimental.symbolic_shapes"
"""The logger that torch.export warns with before it raises for a branch on values."""

ExampleInputs = Tensor | tuple[Any, ...] | dict[str, Any]


def export_trace(model: nn.Module, example_inputs: ExampleInputs) -> fx.GraphModule:
    """The graph of `model` for inputs like `example_inputs`, whose first dimension may have any length afterwards.

    The parameters keep their names. Nodes are called like their module (`encoder.layer.0.query` gives
    `encoder_layer_0_query`), operations within a module like the module and the op, later calls with `_1`, `_2` ….
    Raises whatever torch.export raises for a model that it cannot take.
    """
    args, kwargs = positional_and_keyword(example_inputs)
    given = tuple(map(_two_rows, args)), {name: _two_rows(value) for name, value in kwargs.items()}
    with _quiet():
        exported = torch.export.export(
            model, given[0], kwargs=given[1], dynamic_shapes=_dynamic(args, kwargs), strict=False
        )
        traced = exported.module()
    graph = traced.graph
    _keep_conditions(traced, conditions_of(exported, model, given))
    _name_nodes(graph, model)
    # A new GraphModule: that of torch.export refuses train() and eval().
    return TracedModel(traced, graph, type(model).__name__)


def why_not_exported(error: Exception) -> str:
    """Why `export_trace` failed, in a line: of a branch on the values of a tensor its place in the model's code."""
    from torch.fx.experimental.symbolic_shapes import GuardOnDataDependentSymNode

    if not isinstance(error, GuardOnDataDependentSymNode):
        return first_line(error)
    inside = str(Path(torch.__file__).parent)
    own = [frame for frame in extract_tb(error.__traceback__) if not frame.filename.startswith((inside, "<string>"))]
    where = own[-1]
    if where.filename == __file__:
        return "it branches on the values of a tensor"
    return f"it branches on the values of a tensor in {where.filename}, line {where.lineno}: {where.line}"


def _keep_conditions(traced: fx.GraphModule, conditions: Sequence[str]) -> None:
    """Put what the graph rests on before its first call, in place of torch's own check, which cannot be pickled."""
    graph = traced.graph
    for node in graph.find_nodes(op="call_module", target=GUARDS):
        graph.erase_node(node)
    inputs = graph.find_nodes(op="placeholder")
    if inputs:
        traced.add_submodule(GUARDS, TracedConditions([node.name for node in inputs], conditions))
        with graph.inserting_after(inputs[-1]):
            graph.call_module(GUARDS, tuple(inputs))


def positional_and_keyword(example_inputs: ExampleInputs) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The arguments to call a model with: of a dictionary by keyword, of a tuple one by one."""
    if isinstance(example_inputs, dict):
        return (), dict(example_inputs)
    return tuple(example_inputs) if isinstance(example_inputs, (tuple, list)) else (example_inputs,), {}


def _two_rows(value: Any) -> Any:
    """At least two rows: torch.export takes a batch of one for a constant."""
    return torch.cat([value, value]) if isinstance(value, Tensor) and value.ndim and len(value) == 1 else value


def _dynamic(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    def first_dimension(value: Any) -> Any:
        return {0: torch.export.Dim.AUTO} if isinstance(value, Tensor) and value.ndim else None

    named = {name: first_dimension(value) for name, value in kwargs.items()}
    return named if kwargs else tuple(first_dimension(value) for value in args)


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the warnings of torch.export about its own inside, and the graphs that it prints where it fails."""
    printed = redirect_stderr(StringIO())
    with warnings.catch_warnings(), torch.no_grad(), silenced(SHAPES), printed:
        warnings.simplefilter("ignore")
        yield


def _name_nodes(graph: fx.Graph, model: nn.Module) -> None:
    modules = dict(model.named_modules())
    for node in graph.nodes:
        op = op_of_function(node.target) if node.op == "call_function" else None
        path = _module_path(node)
        if op is None or path is None:
            continue
        own = modules.get(path)
        is_whole = own is not None and (row := op_of_module(own)) is not None and row.name == op.name
        parts = [path] if is_whole else [path, op.name]
        node._rename("_".join(part for part in parts if part).replace(".", "_"))


def _module_path(node: fx.Node) -> str | None:
    """The path of the innermost module that a node was called in, empty for the model itself."""
    stack = node.meta.get("nn_module_stack")
    return str(list(stack.values())[-1][0]) if stack else None
