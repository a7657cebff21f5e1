"""Records the calls that torch receives while a node runs, below every wrapper and hook."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode, get_testing_overrides

from chop.nn.ops import Op, op_of_function, op_of_method


@dataclass(frozen=True)
class TorchCall:
    """A call of a torch function: its arguments by name, copied, and its result."""

    function: Callable[..., Any]
    arguments: Mapping[str, Any]
    result: Any

    @property
    def kind(self) -> str:
        """What is called: the same for all spellings."""
        return kind_of(self.function)

    def operands(self, op: Op) -> dict[str, list[Tensor]]:
        """The tensors of each operand of row `op`, found by the names of torch's own arguments."""
        slots = [(operand, arg) for operand, args in op.args.items() for arg in args] + list(op.params.items())
        found: dict[str, list[Tensor]] = {}
        for operand, arg in slots:
            value = next((self.arguments[key] for key in arg.keywords if key in self.arguments), None)
            if isinstance(value, Tensor):
                found.setdefault(operand, []).append(value)
        return found

    def others(self, op: Op) -> dict[str, Tensor]:
        """The tensors that are no operand (running statistics, a mask), by the names of torch's own arguments."""
        taken = {key for args in op.args.values() for arg in args for key in arg.keywords}
        taken |= {key for arg in op.params.values() for key in arg.keywords}
        return {key: own for key, own in self.arguments.items() if isinstance(own, Tensor) and key not in taken}


class Recorder(TorchFunctionMode):
    """Notes every outermost call of a function of torch while it is active, or those of one kind alone."""

    def __init__(self, kind: str | None = None) -> None:
        super().__init__()
        self.kind = kind
        self.calls: list[TorchCall] = []

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        if self.kind not in (None, kind_of(func)):
            return func(*args, **(kwargs or {}))
        arguments = {name: _snapshot(value) for name, value in _by_name(func, args, kwargs or {}).items()}
        result = func(*args, **(kwargs or {}))
        self.calls.append(TorchCall(func, arguments, result))
        return result


def recorded(call: Callable[[], Any], kind: str | None = None) -> tuple[Any, list[TorchCall]]:
    """The result of `call`, and the calls of functions of torch that it made, of one `kind` or (None) all."""
    with torch.no_grad(), Recorder(kind) as recorder:
        result = call()
    return result, recorder.calls


def own_call(op: Op, result: Any, calls: Sequence[TorchCall]) -> TorchCall | None:
    """The call among `calls` that a float node of row `op` exists for, None where it cannot be told.

    It is spelled as the row is, or else its result is the node's `result`.
    """
    if op.modules:
        spelled = [call for call in calls if call.kind == _family(op.name)]
        if spelled:
            return spelled[-1]
    return next((call for call in reversed(calls) if call.result is result), None)


def kind_of(function: Callable[..., Any]) -> str:
    """The op-table row of a function, or its own name if it has no row."""
    name = str(getattr(function, "__name__", function)).strip("_")
    row = op_of_function(function) or op_of_method(name)
    return _family(row.name) if row is not None else name


def _family(name: str) -> str:
    """Rows that one function of torch stands for have one name."""
    return "batch_norm" if name.startswith("batch_norm") else name


def _snapshot(value: Any) -> Any:
    return value.clone() if isinstance(value, Tensor) else value


def _by_name(function: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    names = [*_parameter_names(function), *map(str, range(len(args)))]
    return {**dict(zip(names, args, strict=False)), **kwargs}


@cache
def _parameter_names(function: Callable[..., Any]) -> tuple[str, ...]:
    """The names of a function's arguments as torch itself states them, those of builtin functions too."""
    if isinstance(function, torch._ops.OpOverload):
        return tuple(argument.name for argument in function._schema.arguments)
    stated = get_testing_overrides().get(function)
    return tuple(inspect.signature(stated).parameters) if stated is not None else ()
