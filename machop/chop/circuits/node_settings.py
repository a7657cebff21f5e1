"""Reads the settings of a call (kernel, stride, padding), whether of a module or of a function."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import fx, nn

from chop.errors import CircuitError


@dataclass(frozen=True)
class Call:
    """A node's call with known values in place of other nodes: `inner` is a module, a function or a method."""

    node: fx.Node
    inner: Any
    args: tuple[Any, ...]
    kwargs: dict[str, Any]

    def setting(self, name: str, position: int, default: Any) -> Any:
        """A setting: the module's attribute, or the argument of that name or position."""
        if isinstance(self.inner, nn.Module):
            return getattr(self.inner, name, default)
        if position < len(self.args):
            return self.args[position]
        return self.kwargs.get(name, default)

    def pair(self, name: str, position: int, dims: int, default: Any) -> tuple[int, ...]:
        """A setting with one number for each spatial dimension."""
        return spread(self.setting(name, position, default), dims)


def spread(value: Any, dims: int) -> tuple[int, ...]:
    """One number for all dimensions, or one for each.

    >>> spread(3, 2), spread([1, 2], 2)
    ((3, 3), (1, 2))
    """
    if isinstance(value, Sequence) and not isinstance(value, str):
        return tuple(int(own) for own in value) if len(value) > 1 or dims == 1 else (int(value[0]),) * dims
    return (int(value),) * dims


def padding_of(call: Call, position: int, kernel: Sequence[int], dilation: Sequence[int]) -> list[tuple[int, int]]:
    """The padding before and after each dimension of a convolution; raises CircuitError unless it is zeros."""
    mode = call.setting("padding_mode", 99, "zeros")
    if mode != "zeros":
        raise CircuitError(f"its padding_mode '{mode}' has no circuit; use zeros")
    value = call.setting("padding", position, 0)
    if value == "valid":
        value = 0
    if value == "same":
        total = [gap * (own - 1) for own, gap in zip(kernel, dilation, strict=True)]
        return [(all_of // 2, all_of - all_of // 2) for all_of in total]
    return [(own, own) for own in spread(value, len(kernel))]
