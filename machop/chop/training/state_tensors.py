"""Turns the state of a training, nested dictionaries of tensors and plain values, into named tensors and back.

So a state is stored as a safetensors file, without pickle.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

LAYOUT = "layout"


def as_tensors(state: Any) -> dict[str, Tensor]:
    """The tensors of a state by number, and a tensor with the JSON text of all else.

    >>> state = {"step": 3, "rates": (0.1, None), 0: {"mean": torch.ones(2)}}
    >>> from_tensors(as_tensors(state))
    {'step': 3, 'rates': (0.1, None), 0: {'mean': tensor([1., 1.])}}
    """
    found: list[Tensor] = []
    text = json.dumps(_plain(state, found))
    tensors = {str(number): tensor for number, tensor in enumerate(found)}
    return {**tensors, LAYOUT: torch.tensor(list(text.encode()), dtype=torch.uint8)}


def from_tensors(tensors: Mapping[str, Tensor]) -> Any:
    """The state that `as_tensors` turned into tensors. Raises KeyError or ValueError for anything else."""
    return _state(json.loads(bytes(tensors[LAYOUT].tolist())), tensors)


def _plain(value: Any, found: list[Tensor]) -> Any:
    if isinstance(value, Tensor):
        found.append(value)
        return {"tensor": len(found) - 1}
    if isinstance(value, Mapping):
        return {"items": [[_plain(key, found), _plain(own, found)] for key, own in value.items()]}
    if isinstance(value, list | tuple):
        return {type(value).__name__: [_plain(own, found) for own in value]}
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise TypeError(f"the state of a training holds a {type(value).__name__}: expected tensors and plain values")


def _state(plain: Any, tensors: Mapping[str, Tensor]) -> Any:
    if not isinstance(plain, dict):
        return plain
    (kind, own), *more = plain.items()
    if more or kind not in ("tensor", "items", "list", "tuple"):
        raise ValueError(f"no state of a training: {sorted(plain)}")
    if kind == "tensor":
        return tensors[str(own)]
    if kind == "items":
        return {_state(key, tensors): _state(value, tensors) for key, value in own}
    return (list if kind == "list" else tuple)(_state(value, tensors) for value in own)
