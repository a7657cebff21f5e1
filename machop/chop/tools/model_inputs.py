"""Brings a model's input into one form: a tensor, a tuple of positional or a dictionary of keyword arguments."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from chop.errors import ChopError

CURE = "an input is a tensor, a tuple of tensors or a dictionary {argument: tensor}"
CONSTANTS = (bool, int, float, str, type(None))
"""Types of values that may accompany tensors, and are passed to the model as they are."""


def as_input(x: Any) -> Any:
    """An input as a tensor, a tuple or a dictionary, in which arrays and lists of numbers are tensors, too.

    Other mappings (`BatchEncoding`, `UserDict`) and dataclasses become dictionaries, lists tuples. Beside tensors
    there may be numbers, strings and None. Raises ChopError for anything else.
    """
    found = _part(x, "the input")
    if isinstance(found, CONSTANTS) or (isinstance(found, (dict, tuple)) and not found):
        raise ChopError(f"the input is {found!r}; {CURE}")
    return found


def map_tensors(call: Callable[[Tensor], Tensor], x: Any) -> Any:
    """The input `x` in the same form, each of its tensors replaced by what `call` returns for it."""
    if isinstance(x, Tensor):
        return call(x)
    if isinstance(x, dict):
        return {key: map_tensors(call, value) for key, value in x.items()}
    return tuple(map_tensors(call, value) for value in x) if isinstance(x, (tuple, list)) else x


def tensors_of(x: Any, path: str = "x") -> dict[str, Tensor]:
    """The tensors of an input by their names in Python.

    >>> list(tensors_of({"ids": torch.zeros(2, 3), "mask": None}))
    ["x['ids']"]
    """
    if isinstance(x, Tensor):
        return {path: x}
    entries = x.items() if isinstance(x, dict) else enumerate(x) if isinstance(x, (tuple, list)) else ()
    return {name: tensor for key, value in entries for name, tensor in tensors_of(value, f"{path}[{key!r}]").items()}


def _part(value: Any, what: str) -> Any:
    if isinstance(value, Tensor):
        return _dense(value, what)
    if isinstance(value, (np.ndarray, np.generic)):
        return _from_array(value, what)
    if isinstance(value, Mapping):
        return {str(key): _part(own, f"{what}['{key}']") for key, own in value.items()}
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: _part(getattr(value, field.name), f"{what}.{field.name}") for field in fields(value)}
    if isinstance(value, (tuple, list)):
        return _numbers(value) if _holds_numbers(value) else _parts(value, what)
    if isinstance(value, CONSTANTS):
        return value
    raise ChopError(f"{what} is a {type(value).__name__}; {CURE}")


def _parts(values: tuple[Any, ...] | list[Any], what: str) -> tuple[Any, ...]:
    if any(isinstance(value, str) for value in values):
        raise ChopError(f"{what} holds text; {CURE}, so let the data set turn text into numbers")
    return tuple(_part(own, f"{what}[{place}]") for place, own in enumerate(values))


def _dense(tensor: Tensor, what: str) -> Tensor:
    if tensor.layout is not torch.strided or tensor.is_nested:
        raise ChopError(f"{what} is a sparse or nested tensor; let the data set return dense ones (to_dense())")
    return tensor.detach()


def _from_array(value: Any, what: str) -> Tensor:
    try:
        return torch.as_tensor(np.ascontiguousarray(value))
    except TypeError:
        raise ChopError(f"{what} is an array of {value.dtype}, of which there are no tensors; {CURE}") from None


def _holds_numbers(values: Any) -> bool:
    """Whether a list, perhaps of lists, ends in numbers."""
    first = values[0] if values else None
    if isinstance(first, (tuple, list)):
        return all(isinstance(own, (tuple, list)) and len(own) == len(first) for own in values) and _holds_numbers(
            first
        )
    return bool(values) and all(isinstance(own, (bool, int, float)) for own in values)


def _numbers(values: Any) -> Tensor:
    return torch.tensor(values)
