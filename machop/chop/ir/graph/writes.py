"""Finds calls of a traced graph that write on a value, their functional forms, and calls that return a view."""

from __future__ import annotations

import functools
import inspect
import operator
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import fx, nn

from chop.nn.on_copies import OnCopy
from chop.nn.ops import op_of_function, op_of_method

_PLAIN = (
    *(operator.add, operator.sub, operator.mul, operator.truediv, operator.floordiv, operator.mod, operator.pow),
    *(operator.and_, operator.or_, operator.xor, operator.matmul, operator.lshift, operator.rshift),
)
OPERATORS: dict[Callable[..., Any], Callable[..., Any]] = {
    getattr(operator, f"i{plain.__name__.removesuffix('_')}"): plain for plain in _PLAIN
}
"""Operators that write on a tensor, with those that return the same."""

NUMBERS = frozenset(
    ("size", "shape", "stride", "dim", "ndim", "ndimension", "numel", "nelement", "item", "tolist", "len", "__len__")
)
"""Functions, methods and attributes whose results are numbers, which nothing writes on."""

IS_ITSELF = (nn.Identity, nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout, nn.FeatureAlphaDropout)
"""Modules that in eval mode return their input itself."""

KNOWN = ("torch", "_operator", "builtins", "math", "chop")
"""Libraries whose functions write on nothing, but where this module says so."""

MAY_COPY = frozenset(
    (
        *("reshape", "reshape_as", "flatten", "contiguous", "cpu", "cuda", "to", "type", "type_as"),
        *("float", "half", "double", "bfloat16", "int", "long", "bool"),
    )
)
"""Functions and methods that return a view, or a tensor of their own, as it suits the memory's layout or the type."""

DROPOUTS = ("dropout", "dropout1d", "dropout2d", "dropout3d", "alpha_dropout", "feature_alpha_dropout")
ALSO_VIEWS = frozenset((*DROPOUTS, "data", "T", "mT", "H", "mH", "real", "imag", *MAY_COPY))
"""Views that torch's schemas do not tell."""


@dataclass(frozen=True)
class Write:
    """A call that writes on the node `written` (on nothing, where that is None).

    With `op`, `target`, `args` and `kwargs` it returns what it would have written.
    """

    written: Any
    op: str
    target: Any
    args: tuple[Any, ...]
    kwargs: dict[str, Any]


def write_of(node: fx.Node, model: nn.Module) -> Write | None:
    """What a call writes on, None for one that does not write.

    A module that works in place does not write once its `inplace` is False. `model` holds the modules.
    """
    if node.op == "call_method":
        return _write_of_method(node)
    if node.op == "call_module":
        return _write_of_module(node, model)
    return _write_of_function(node) if node.op == "call_function" else None


def _write_of_method(node: fx.Node) -> Write | None:
    name = str(node.target)
    if name.startswith("__i") or name == "__setitem__":
        return _write_of_operator(getattr(operator, name.strip("_"), None), node)
    if not name.endswith("_") or name.endswith("__"):
        return None
    if op_of_method(name) is not None and op_of_method(name[:-1]) is op_of_method(name):
        return Write(node.args[0], "call_method", name[:-1], node.args, node.kwargs)
    return Write(node.args[0], "call_function", OnCopy(name), node.args, node.kwargs)


def works_in_place(node: fx.Node, model: nn.Module) -> bool:
    """Whether a node calls a module of torch that works in place."""
    if node.op != "call_module":
        return False
    module = model.get_submodule(str(node.target))
    return getattr(module, "inplace", False) is True and _is_of_torch(type(module))


def is_opaque(node: fx.Node, model: nn.Module) -> bool:
    """Whether a call runs code of the user's own, or of another library, that no graph shows."""
    if node.op == "call_module":
        return _library(type(model.get_submodule(str(node.target)))) not in KNOWN
    return node.op == "call_function" and _library(node.target) not in KNOWN


def _library(function: Any) -> str:
    is_overload = isinstance(function, torch._ops.OpOverload)
    return "torch" if is_overload else str(getattr(function, "__module__", "")).partition(".")[0]


def _write_of_module(node: fx.Node, model: nn.Module) -> Write | None:
    if not works_in_place(node, model):
        return None
    written = node.args[0] if node.args else next(iter(node.kwargs.values()))
    return Write(written, "call_module", node.target, node.args, node.kwargs)


def _write_of_function(node: fx.Node) -> Write | None:
    target: Any = node.target
    args, kwargs = node.args, dict(node.kwargs)
    if isinstance(target, torch._ops.OpOverload):
        return _write_of_overload(node, target)
    if kwargs.get("out") is not None:
        return Write(kwargs.pop("out"), "call_function", target, args, kwargs)
    if target in OPERATORS or target is operator.setitem:
        return _write_of_operator(target, node)
    if _is_in_place(target, args, kwargs):
        args, kwargs = _out_of_place(target, args, kwargs)
        written = args[0] if args else kwargs["input"]
        return Write(written, "call_function", target, args, kwargs)
    name = str(getattr(target, "__name__", ""))
    if name.endswith("_") and not name.endswith("__") and _is_of_torch(target):
        return Write(args[0], "call_function", _without_writing(target, name), args, kwargs)
    return None


def _write_of_operator(target: Callable[..., Any] | None, node: fx.Node) -> Write | None:
    if target is operator.setitem:
        return Write(node.args[0], "call_function", OnCopy(target), node.args, {})
    if target not in OPERATORS:
        return None
    written = None if _is_number(node.args[0]) else node.args[0]
    return Write(written, "call_function", OPERATORS[target], node.args, {})


def _is_number(value: Any) -> bool:
    """Whether a value is a number, or several, and no tensor: it follows from sizes alone."""
    if not isinstance(value, fx.Node):
        return not isinstance(value, torch.Tensor)
    if value.op not in ("call_function", "call_method"):
        return False
    is_arithmetic = _library(value.target) in ("_operator", "math", "builtins") and value.target is not getattr
    sources = value.all_input_nodes
    return _spelling(value) in NUMBERS or (is_arithmetic and bool(sources) and all(map(_is_number, sources)))


def _without_writing(target: Callable[..., Any], name: str) -> Callable[..., Any]:
    """The function of the op table that does the same, or the function itself on a copy."""
    for room in (torch, F):
        found: Any = getattr(room, name[:-1], None)
        if found is not None and op_of_function(found) is not None:
            return found  # type: ignore[no-any-return]
    return OnCopy(target)


def _write_of_overload(node: fx.Node, target: torch._ops.OpOverload) -> Write | None:
    arguments = target._schema.arguments
    places = [i for i, a in enumerate(arguments) if a.alias_info is not None and a.alias_info.is_write]
    if not places:
        return None
    if places[0] >= len(node.args):
        return _write_of_out_overload(node, target, [arguments[place].name for place in places])
    name = target._schema.name.partition("::")[2]
    packet = getattr(torch.ops.aten, name.removesuffix("_"), None)
    twin = getattr(packet, target._overloadname, None)
    is_known = twin is not None and op_of_function(twin) is not None and twin is not target
    function = twin if is_known else OnCopy(target, places[0])
    return Write(node.args[places[0]], "call_function", function, node.args, dict(node.kwargs))


def _write_of_out_overload(node: fx.Node, target: torch._ops.OpOverload, outs: list[str]) -> Write | None:
    """The overload with the same arguments, but for those that it writes on."""
    kwargs = dict(node.kwargs)
    written = [kwargs.pop(name) for name in outs if name in kwargs]
    inputs = [(a.name, str(a.type)) for a in target._schema.arguments if a.name not in outs]
    packet = getattr(torch.ops.aten, target._schema.name.partition("::")[2])
    for overload in (getattr(packet, name) for name in packet.overloads()):
        if [(a.name, str(a.type)) for a in overload._schema.arguments] == inputs:
            return Write(written[0] if len(written) == 1 else written, "call_function", overload, node.args, kwargs)
    return None


def _is_in_place(target: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    place = _place_of_inplace(target)
    return bool(kwargs.get("inplace") or (place is not None and place < len(args) and args[place] is True))


def _out_of_place(
    target: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    place = _place_of_inplace(target)
    if place is not None and place < len(args):
        return (*args[:place], False, *args[place + 1 :]), kwargs
    return args, {**kwargs, "inplace": False}


@functools.cache
def _place_of_inplace(target: Callable[..., Any]) -> int | None:
    if not _is_of_torch(target):
        return None
    try:
        names = list(inspect.signature(target).parameters)
    except (TypeError, ValueError):
        return None
    return names.index("inplace") if "inplace" in names else None


def _is_of_torch(target: Any) -> bool:
    return _library(target) == "torch"


def argument(node: fx.Node, name: str, place: int) -> Any:
    """An argument of a call, by its place or its name; None where it is absent."""
    return node.args[place] if place < len(node.args) else node.kwargs.get(name)


def view_source(node: fx.Node, model: nn.Module) -> fx.Node | None:
    """The node whose memory the result of `node` may share; None for calls that make a tensor of their own."""
    source = next(iter(node.all_input_nodes), None)
    if source is None or not node.args or node.args[0] is not source:
        return None
    if node.op == "call_module":
        module = model.get_submodule(str(node.target))
        return source if isinstance(module, (*IS_ITSELF, nn.Flatten, nn.Unflatten)) else None
    if node.target is operator.getitem:
        return None if isinstance(node.args[1], list) else source
    return source if _is_view(_spelling(node)) else None


def may_be_copy(node: fx.Node, model: nn.Module) -> bool:
    """Whether a view may also be a tensor of its own, which only a run tells."""
    if node.target is operator.getitem:
        index = node.args[1] if isinstance(node.args[1], tuple) else (node.args[1],)
        return any(isinstance(part, (fx.Node, list)) for part in index)
    if node.op == "call_module":
        return isinstance(model.get_submodule(str(node.target)), nn.Flatten)
    return _spelling(node) in MAY_COPY


def view_as_function(node: fx.Node, model: nn.Module) -> tuple[Callable[..., Any] | str, tuple[Any, ...]] | None:
    """A view as a function of its source, with its further arguments; None where it is the source itself."""
    if node.op != "call_module":
        return str(node.target) if node.op == "call_method" else node.target, node.args[1:]
    module = model.get_submodule(str(node.target))
    if isinstance(module, nn.Flatten):
        return torch.flatten, (module.start_dim, module.end_dim)
    return (torch.unflatten, (module.dim, module.unflattened_size)) if isinstance(module, nn.Unflatten) else None


def _spelling(node: fx.Node) -> str:
    if node.target is getattr:
        return str(node.args[1])
    if isinstance(node.target, torch._ops.OpOverload):
        return node.target._schema.name.partition("::")[2]
    return str(node.target if node.op == "call_method" else getattr(node.target, "__name__", ""))


@functools.cache
def _is_view(name: str) -> bool:
    schemas = torch._C._jit_get_schemas_for_operator(f"aten::{name}")
    first = [schema.arguments[0].alias_info for schema in schemas if schema.arguments]
    return name in ALSO_VIEWS or any(alias is not None and not alias.is_write for alias in first)
