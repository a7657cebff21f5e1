"""Arrays of samples as loaders of batches, and their split into parts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor

from chop.dataset.data import PARTS
from chop.dataset.rows import TensorRows, count_rows, rows_loader, take
from chop.errors import DatasetError, first_line

SPLIT = (0.8, 0.1, 0.1)
"""Shares of samples for training, validation and testing, where the data are not in parts."""


class InputRows(TensorRows):
    """Samples in memory whose input is a tensor, or a tuple or dictionary of tensors."""

    def __getitem__(self, index: Any) -> tuple[Any, Any]:
        return self.__getitems__(index)

    def __getitems__(self, indexes: Sequence[int]) -> tuple[Any, Any]:
        rows = torch.as_tensor(indexes)
        return take(self.x, rows), self.y[rows]


class SampleArrays:
    """Makes loaders of arrays `(x, y)` with the samples first; x may be a tuple or a dictionary of arrays.

    Real inputs become `real`, the type of the model's parameters (None: float32, but torch's stay what they are). Whole
    numbers and booleans stay what they are: they may be tokens, classes or masks. Real targets become float32, but
    torch's.
    """

    def __init__(
        self, batch_size: int, seed: int = 0, split: Sequence[float] = SPLIT, real: torch.dtype | None = None
    ) -> None:
        self._batch_size = batch_size
        self._seed = seed
        self._split = split
        self._real = real

    def loader(self, part: str, own: Any) -> Any:
        """A loader of a part, shuffled for training; what is no pair of arrays comes back as it is."""
        if not (isinstance(own, tuple) and is_pair(own)):
            return own
        x, y = own
        return rows_loader(_rows(x, y, self._real), self._batch_size, 0, part == "train", self._seed)

    def parts(self, x: Any, y: Any) -> dict[str, Any]:
        """Loaders of three parts of the samples, drawn without replacement."""
        rows = _rows(x, y, self._real)
        sizes = _sizes(len(rows), self._split)
        order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(self._seed))
        bounds = pairwise([0, *np.cumsum(sizes).tolist()])
        own = {part: order[start:stop] for part, (start, stop) in zip(PARTS, bounds, strict=True)}
        return {part: self.loader(part, rows[chosen]) for part, chosen in own.items()}


def is_pair(value: Any) -> bool:
    """Whether it is `(x, y)` of arrays or lists of numbers; x may be a tuple or dictionary of these."""
    if not (isinstance(value, (tuple, list)) and len(value) == 2 and _is_array(value[1])):
        return False
    x = value[0]
    own = list(x.values()) if isinstance(x, Mapping) else list(x) if isinstance(x, tuple) else [x]
    return bool(own) and all(map(_is_array, own))


def _is_array(value: Any) -> bool:
    if isinstance(value, Tensor) or (hasattr(value, "__array__") and getattr(value, "shape", ()) != ()):
        return True
    return isinstance(value, list) and bool(value) and _holds_numbers(value[0])


def _holds_numbers(value: Any) -> bool:
    """Whether it is a number, or lists of numbers within each other, as far as their first entries tell."""
    while isinstance(value, list) and value:
        value = value[0]
    return isinstance(value, (bool, int, float, np.number, np.bool_))


def _rows(x: Any, y: Any, real: torch.dtype | None) -> InputRows:
    if isinstance(x, Mapping):
        inputs: Any = {name: _input(own, real) for name, own in x.items()}
    else:
        inputs = tuple(_input(own, real) for own in x) if isinstance(x, tuple) else _input(x, real)
    rows = InputRows(inputs, _tensor(y))
    if count_rows(rows.x) != len(rows.y):
        raise DatasetError(f"x has {count_rows(rows.x):,} samples and y {len(rows.y):,}: give a target for each sample")
    return rows


def _input(array: Any, real: torch.dtype | None) -> Tensor:
    found = _tensor(array, real or torch.float32)
    return found.to(real) if real is not None and found.is_floating_point() else found


def _tensor(array: Any, real: torch.dtype = torch.float32) -> Tensor:
    if isinstance(array, Tensor):
        return array.detach()
    try:
        found = torch.from_numpy(np.array(array))
    except (TypeError, ValueError) as error:
        cure = "; pad all samples to one length" if "inhomogeneous" in str(error) else ""
        raise DatasetError(
            f"has an array of which no tensor can be made ({first_line(error)}); give numbers{cure}"
        ) from None
    return found.to(real) if found.is_floating_point() else found


def _sizes(samples: int, split: Sequence[float]) -> list[int]:
    """How many samples each part has."""
    is_right = len(split) == 3 and all(isinstance(own, (int, float)) and own > 0 for own in split)
    if not is_right or abs(sum(split) - 1) > 1e-6:
        raise DatasetError(f"split= is {split!r}; give three shares above 0 that add up to 1, such as {SPLIT}")
    train, val, test = _shared(samples, split)
    if train < 2:
        least = next((more for more in range(samples, samples + 1000) if _shared(more, split)[0] >= 2), None)
        cure = f"give at least {least}" if least else "give more"
        raise DatasetError(f"the data has {samples} sample{'s' * (samples != 1)}, too few for three parts; {cure}")
    return [train, val, test]


def _shared(samples: int, split: Sequence[float]) -> list[int]:
    val, test = (max(1, round(samples * share)) for share in split[1:])
    return [samples - val - test, val, test]
