"""Samples in memory: loaders that return whole batches, and functions to cut, take and join them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from chop.tools.model_inputs import map_tensors, tensors_of

Batch = tuple[Any, Any]


class TensorRows(Dataset[Batch]):
    """`x` (`(samples, features)`, or images `(samples, channels, height, width)`) and `y` (`(samples,)`).

    A batch is one indexing operation in place of one per row.
    """

    def __init__(self, x: Any, y: Tensor) -> None:
        self.x = x
        self.y = y

    def __len__(self) -> int:
        return len(self.y)

    def __getitem__(self, index: int) -> Batch:
        return self.x[index], self.y[index]

    def __getitems__(self, indexes: Sequence[int]) -> Batch:
        rows = torch.as_tensor(indexes)
        return self.x[rows], self.y[rows]


class Batches:
    """Batches of any iterable for Lightning, which takes a list for several loaders."""

    def __init__(self, source: Any) -> None:
        self.source = source

    def __iter__(self) -> Iterator[Any]:
        return iter(self.source)

    def __len__(self) -> int:
        return len(self.source)


def as_is(batch: Any) -> Any:
    """The collate function of samples that are batches already."""
    return batch


def rows_loader(
    rows: TensorRows, batch_size: int, num_workers: int = 0, shuffle: bool = False, seed: int = 0
) -> DataLoader[Batch]:
    """A DataLoader over `rows`; a shuffled order is drawn from `seed`."""
    generator = torch.Generator().manual_seed(seed) if shuffle else None
    return DataLoader(
        rows,
        batch_size=batch_size,
        shuffle=shuffle,
        num_workers=num_workers,
        collate_fn=as_is,
        generator=generator,
        # Batch norm cannot train on one row: a last batch of one is left to another epoch.
        drop_last=shuffle and batch_size > 1 and len(rows) % batch_size == 1,
        persistent_workers=num_workers > 0,
    )


def count_rows(x: Any, dim: int = 0) -> int:
    """The number of samples of an input along `dim`, from the first of its tensors that has it."""
    return next(tensor.shape[dim] for tensor in tensors_of(x).values() if tensor.ndim > dim)


def cut(x: Any, start: int, stop: int) -> Any:
    """Samples `start` to `stop` of an input, in the same form; scalars and non-tensors belong to all."""
    return map_tensors(lambda tensor: tensor[start:stop] if tensor.ndim else tensor, x)


def take(x: Any, rows: Tensor) -> Any:
    """The samples of an input with the numbers in `rows`, in the same form."""
    return map_tensors(lambda tensor: tensor[rows] if tensor.ndim else tensor, x)


def form_of(x: Any) -> Any:
    """The form of an input, equal for inputs that can be joined: names, types, shapes of a sample, non-tensors."""
    if isinstance(x, Tensor):
        return x.dtype, tuple(x.shape[1:]) if x.ndim else x.tolist()
    if isinstance(x, dict):
        return tuple((key, form_of(x[key])) for key in sorted(x))
    return tuple(map(form_of, x)) if isinstance(x, tuple) else (type(x), x)


def repeated(x: Any, rows: int, dim: int = 0) -> Any:
    """An input of `rows` samples along `dim`: those of `x`, repeated as often as necessary.

    What has another length than the rows (a scalar, a table for all of them) stays as it is.
    """
    had = count_rows(x, dim)

    def again(tensor: Tensor) -> Tensor:
        has_rows = tensor.ndim > dim and tensor.shape[dim] == had
        return tensor.index_select(dim, torch.arange(rows, device=tensor.device) % had) if has_rows else tensor

    return map_tensors(again, x)


def join(parts: Sequence[Any]) -> Any:
    """One input from several of the same form (`form_of`)."""
    first = parts[0]
    if isinstance(first, Tensor):
        return torch.cat(list(parts)) if first.ndim else first
    if isinstance(first, dict):
        return {key: join([part[key] for part in parts]) for key in first}
    return tuple(join(column) for column in zip(*parts, strict=True)) if isinstance(first, tuple) else first
