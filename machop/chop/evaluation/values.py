"""Values of a stage for many configurations, in the layout that suits it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class Same:
    """One value for all configurations: inputs, constants, and everything before the first choice."""

    value: Any


@dataclass(frozen=True)
class Each:
    """One value per configuration, of any type."""

    values: Sequence[Any]


@dataclass(frozen=True)
class Rows:
    """Tensors of one shape: `(configurations, *shape)`."""

    tensor: Tensor


@dataclass(frozen=True)
class Planes:
    """Vectors of features: `(features, configurations, samples)`, contiguous along samples.

    A layer with few outputs is computed several times as fast like that as with its features innermost.
    """

    tensor: Tensor


Value = Same | Each | Rows | Planes


class Pick:
    """Some of the configurations of a value, by number; those in a row are taken without a copy."""

    def __init__(self, numbers: np.ndarray[Any, Any]) -> None:
        self.numbers = numbers
        first, count = int(numbers[0]), len(numbers)
        is_run = count == 1 or bool((np.diff(numbers) == 1).all())
        self.run = (first, count) if is_run else None

    @property
    def index(self) -> Tensor:
        """The numbers as a tensor, for `index_select`.

        Made anew each time: thousands of them that are kept lie scattered between large values, and cut the memory
        which these leave into holes too small for the next (100 MiB more for a process on jsc-s).
        """
        return torch.from_numpy(self.numbers)

    def of(self, value: Value) -> Value:
        """The picked configurations of `value`."""
        match value:
            case Same():
                return value
            case Each(values):
                return Each([values[i] for i in self.numbers])
            case Rows(tensor):
                return Rows(self._select(tensor, 0))
            case Planes(tensor):
                return Planes(self._select(tensor, 1))

    def _select(self, tensor: Tensor, dim: int) -> Tensor:
        if self.run:
            return tensor.narrow(dim, *self.run)
        return tensor.index_select(dim, self.index.to(tensor.device))


def join(parts: Sequence[Value]) -> Value:
    """The configurations of all parts, one after the other."""
    if len(parts) == 1:
        return parts[0]
    if all(isinstance(part, Planes) for part in parts):
        return Planes(torch.cat([part.tensor for part in parts], 1))  # type: ignore[union-attr]
    if all(isinstance(part, Rows) for part in parts):
        return Rows(torch.cat([part.tensor for part in parts]))  # type: ignore[union-attr]
    return Each([value for part in parts for value in each(part)])


def count_of(value: Value) -> int:
    """The number of configurations in a value."""
    match value:
        case Same():
            return 1
        case Each(values):
            return len(values)
        case Rows(tensor):
            return tensor.shape[0]
        case Planes(tensor):
            return tensor.shape[1]


def bytes_of(value: Value) -> int:
    """The memory of the tensors of all configurations of a value."""
    if isinstance(value, Each):
        return sum(v.nbytes for v in value.values if isinstance(v, Tensor))
    return 0 if isinstance(value, Same) else value.tensor.nbytes


def each(value: Value) -> Sequence[Any]:
    """The value of each configuration in the layout of the model; for `Same` the single one."""
    match value:
        case Same(one):
            return [one]
        case Each(values):
            return values
        case Rows(tensor):
            return tensor.unbind(0)
        case Planes(tensor):
            return tensor.permute(1, 2, 0).contiguous().unbind(0)


def as_rows(value: Value) -> Tensor | None:
    """`(configurations, *shape)`; None where the values are no tensors of one shape."""
    match value:
        case Rows(tensor):
            return tensor
        case Planes(tensor):
            return tensor.permute(1, 2, 0).contiguous()
        case Same() | Each():
            values = each(value)
    first = values[0]
    if not all(isinstance(v, Tensor) and v.shape == first.shape and v.dtype == first.dtype for v in values):
        return None
    return torch.stack(list(values)) if len(values) > 1 else first.unsqueeze(0)


def as_planes(value: Value) -> Tensor:
    """`(features, configurations, rows)` of values that are `(rows, features)` each."""
    if isinstance(value, Planes):
        return value.tensor
    rows = as_rows(value)
    assert rows is not None
    return rows.permute(2, 0, 1).contiguous()
