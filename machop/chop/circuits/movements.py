"""Operations that only move values: reshapes, permutations, slices, joins."""

from __future__ import annotations

import operator
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, fx, nn

from chop.circuits.node_settings import Call
from chop.circuits.stages import Select
from chop.errors import CircuitError

MOVES = frozenset(
    (
        *("flatten", "unflatten", "reshape", "view", "permute", "transpose", "movedim", "squeeze", "unsqueeze", "flip"),
        *("contiguous", "clone", "detach", "getitem", "cat", "concat", "concatenate", "stack", "alias", "narrow"),
        *("slice", "select", "t", "swapaxes", "swapdims", "_unsafe_view", "roll", "expand"),
    )
)
MODULES = (nn.Flatten, nn.Unflatten, nn.Identity)

TWO = 2
"""Samples of the run that tells the elements apart: one alone would not show what mixes samples."""


def moves(call: Call) -> bool:
    """Whether a call only moves values."""
    if isinstance(call.inner, nn.Module):
        return isinstance(call.inner, MODULES)
    name = str(getattr(call.inner, "__name__", call.inner))
    if isinstance(call.inner, torch._ops.OpOverload):
        name = str(call.inner).removeprefix("aten.").split(".", maxsplit=1)[0]
    return name in MOVES or call.inner is operator.getitem


def selection(
    name: str, call: Call, sources: Sequence[fx.Node], shapes: Mapping[fx.Node, tuple[int, ...]]
) -> tuple[tuple[int, ...], Select]:
    """What a call moves where, from a run on the numbers of the elements; with the shape of one sample's result.

    Raises CircuitError where samples are mixed, or more than one tensor comes out.
    """
    numbers: dict[fx.Node, Tensor] = {}
    sizes = [torch.Size(shapes[source]).numel() for source in sources]
    total, start = sum(sizes), 0
    for source, size in zip(sources, sizes, strict=True):
        one = torch.arange(start, start + size).reshape(1, *shapes[source])
        numbers[source] = torch.cat([one, one + total])
        start += size
    args, kwargs = fx.node.map_arg((call.args, call.kwargs), numbers.__getitem__)
    moved: Any = call.inner(*args, **kwargs)
    if not isinstance(moved, Tensor) or len(moved) != TWO or not torch.equal(moved[1], moved[0] + total):
        raise CircuitError("it mixes samples, or returns several tensors, and has no integer form; change the model")
    shape = tuple(moved.shape[1:])
    return shape, Select(name, (), shape, moved[0].flatten().numpy())
