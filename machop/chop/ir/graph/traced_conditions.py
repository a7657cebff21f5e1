"""The conditions on inputs under which torch.export traced a model, kept in the graph as a module."""

from __future__ import annotations

import inspect
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from types import CodeType
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.utils import _pytree as pytree

from chop.errors import GraphError

Inputs = tuple[tuple[Any, ...], Mapping[str, Any]]

CURE = (
    "Let the data have inputs of one shape in all parts (pad or cut them), or write the branch so that torch.fx can "
    "trace it (torch.where, cf_args)"
)

LEAST = 2
"""Batches of one sample are taken too, although torch.export speaks of two and more."""

MOST = 2**31
"""From here on a bound is none."""


class TracedConditions(nn.Module):
    """Raises GraphError for inputs (the graph's placeholders, called `names`) that a condition does not hold for.

    A graph of torch.export took one way through the model's forward, with the example's shapes; for other inputs the
    model might take another. `conditions` are expressions as torch states them, such as `x.size()[1] == 5`.
    """

    def __init__(self, names: Sequence[str], conditions: Sequence[str]) -> None:
        super().__init__()
        self.names = tuple(names)
        self.conditions = tuple(conditions)
        self._compiled: list[CodeType] | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_compiled": None}

    def forward(self, *inputs: Any) -> None:
        """Return nothing where all conditions hold."""
        if self._compiled is None:
            self._compiled = [compile(condition, "<condition>", "eval") for condition in self.conditions]
        from torch.fx.experimental.symbolic_shapes import SYMPY_INTERP  # brings sympy: not for every command

        scope = {**SYMPY_INTERP, "math": math, "torch": torch, **dict(zip(self.names, inputs, strict=True))}
        for condition, code in zip(self.conditions, self._compiled, strict=True):
            if not _holds(code, scope):
                raise GraphError(
                    f"the model was traced by torch.export for inputs with {_readable(condition)}, and now gets "
                    f"{_shapes(self.names, inputs)}: its forward may go another way there. {CURE}"
                )

    def extra_repr(self) -> str:
        """The conditions, for `print(model)`."""
        return "; ".join(map(_readable, self.conditions))


def conditions_of(exported: torch.export.ExportedProgram, model: nn.Module, inputs: Inputs) -> tuple[str, ...]:
    """The conditions that an exported program rests on, as expressions of the names of its placeholders.

    `inputs` are the arguments that the program was made from, by place and by name.
    """
    places = [node for node in exported.graph.nodes if node.name in exported.graph_signature.user_inputs]
    own = [condition for node in places for condition in _own_conditions(node, exported.range_constraints)]
    told = (_renamed(text, _sources(model, inputs, places)) for text in getattr(exported, "_guards_code", ()))
    return tuple(dict.fromkeys([*own, *_equal_lengths(places), *(text for text in told if "L[" not in text)]))


def _own_conditions(node: fx.Node, ranges: Mapping[Any, Any]) -> Iterator[str]:
    """What one input must be like: its type, its dimensions, the lengths that are fixed and the bounds of others."""
    value = node.meta.get("val")
    if not isinstance(value, Tensor):
        return
    yield f"{node.name}.dtype in {_alike(value.dtype)}"
    yield f"{node.name}.dim() == {value.ndim}"
    for axis, length in enumerate(_lengths(value)):
        source = f"{node.name}.size()[{axis}]"
        if isinstance(length, int):
            yield f"{source} == {length}"
            continue
        bounds = ranges.get(length.node.expr)
        if bounds is not None and bounds.lower > LEAST:
            yield f"{source} >= {int(bounds.lower)}"
        if bounds is not None and bounds.upper < MOST:
            yield f"{source} <= {int(bounds.upper)}"


def _lengths(value: Tensor) -> Sequence[int | torch.SymInt]:
    """The shape of a traced tensor, in which lengths that may vary are symbols."""
    return value.shape


def _equal_lengths(places: Sequence[fx.Node]) -> Iterator[str]:
    """Dimensions of inputs that the program takes to have one length."""
    first: dict[str, str] = {}
    for node in places:
        value = node.meta.get("val")
        for axis, length in enumerate(_lengths(value) if isinstance(value, Tensor) else ()):
            if isinstance(length, torch.SymInt):
                source = f"{node.name}.size()[{axis}]"
                known = first.setdefault(str(length), source)
                if known != source:
                    yield f"{source} == {known}"


def _alike(dtype: torch.dtype) -> str:
    """The types that a program for `dtype` takes as well: of whole numbers others, of floating-point numbers others."""
    groups = (
        ("float16", "bfloat16", "float32", "float64"),
        ("int16", "int32", "int64"),
    )
    name = str(dtype).removeprefix("torch.")
    group = next((group for group in groups if name in group), (name,))
    return "(" + "".join(f"torch.{one}, " for one in group) + ")"


def _sources(model: nn.Module, inputs: Inputs, places: Sequence[fx.Node]) -> dict[str, str]:
    """For torch's own names of the inputs, such as `L['batch']['ids']`, the names of the placeholders."""
    args, kwargs = inputs
    bound = inspect.signature(model.forward).bind(*args, **kwargs).arguments
    paths = [path for path, _ in pytree.tree_flatten_with_path(dict(bound))[0]]
    named = {f"L{pytree.keystr(path)}": node.name for path, node in zip(paths, places, strict=False)}
    return named | {f"L['flat_args'][{place}]": node.name for place, node in enumerate(places)}


def _renamed(text: str, names: Mapping[str, str]) -> str:
    for old in sorted(names, key=len, reverse=True):
        text = text.replace(old, names[old])
    return text


def _holds(code: CodeType, scope: dict[str, Any]) -> bool:
    """Whether a condition holds; one on a dimension that an input does not have does not."""
    try:
        return bool(eval(code, {"__builtins__": {}}, scope))  # noqa: S307 - a condition that torch has written
    except (IndexError, AttributeError, TypeError):
        return False


def _readable(condition: str) -> str:
    """`x.shape[1]` for `x.size()[1]`."""
    return re.sub(r"\.size\(\)\[", ".shape[", condition).replace("torch.", "").replace(", )", ")")


def _shapes(names: Sequence[str], inputs: Sequence[Any]) -> str:
    given = [
        f"{name} of shape {tuple(value.shape)} ({str(value.dtype).removeprefix('torch.')})"
        for name, value in zip(names, inputs, strict=True)
        if isinstance(value, Tensor)
    ]
    return ", ".join(given)
