"""Turns calls that write on a tensor into functions that leave it alone and return the result."""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from torch import Tensor, fx

Function = TypeVar("Function", bound=Callable[..., Any])


@dataclass(frozen=True)
class OnCopy:
    """Calls `function`, or the tensor method of that name, on a copy of its argument `place`, and returns the copy."""

    function: Callable[..., Any] | str
    place: int = 0

    @property
    def __name__(self) -> str:
        return _name(self.function)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if (tracer := _tracer(args)) is not None:
            return tracer.create_proxy("call_function", self, args, kwargs)
        written = args[self.place].clone() if isinstance(args[self.place], Tensor) else copy.copy(args[self.place])
        result = _call(self.function, (*args[: self.place], written, *args[self.place + 1 :]), kwargs)
        is_number = not isinstance(written, Tensor) and result is not None
        return result if is_number else written


@dataclass(frozen=True)
class ThroughView:
    """A copy of `base` of which the part that `view` shows, a function or a tensor method, is `value`.

    A `view` that makes a tensor of its own shows no part: then the copy is as `base`.
    """

    view: Callable[..., Any] | str

    @property
    def __name__(self) -> str:
        return f"{_name(self.view)}_written"

    def __call__(self, base: Any, value: Any, *args: Any, **kwargs: Any) -> Any:
        if (tracer := _tracer((base, value))) is not None:
            return tracer.create_proxy("call_function", self, (base, value, *args), kwargs)
        if not isinstance(base, Tensor):  # one of several tensors, by its number
            parts = list(base)
            parts[args[0]] = value
            return tuple(parts)
        found = base.clone()
        seen = _call(self.view, (found, *args), kwargs)
        for part, own in zip(*((seen, value) if isinstance(seen, (tuple, list)) else ((seen,), (value,))), strict=True):
            part.copy_(own)
        return found


def one_call(function: Function) -> Function:
    """Let tracing see `function` as one call, and not look into it."""

    @functools.wraps(function)
    def call(*args: Any) -> Any:
        tracer = _tracer(args)
        return function(*args) if tracer is None else tracer.create_proxy("call_function", call, args, {})

    return call  # type: ignore[return-value]


@one_call
def copied(values: Any) -> Any:
    """Nested values with every tensor copied."""
    return fx.node.map_aggregate(values, lambda value: value.clone() if isinstance(value, Tensor) else value)


def _tracer(values: tuple[Any, ...]) -> Any:
    """The tracer of a call; None for a call that is run."""
    return next((value.tracer for value in values if isinstance(value, fx.Proxy)), None)


def _call(function: Callable[..., Any] | str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    return getattr(args[0], function)(*args[1:], **kwargs) if isinstance(function, str) else function(*args, **kwargs)


def _name(function: Callable[..., Any] | str) -> str:
    name = function if isinstance(function, str) else getattr(function, "__name__", type(function).__name__)
    return str(name).replace(".", "_")
