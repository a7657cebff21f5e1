"""A data set of the user's own: DataLoaders for three parts, and perhaps a loss and metrics."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset, RandomSampler, SequentialSampler

from chop.dataset.info import UserMetric
from chop.errors import DatasetError
from chop.tools.user_code import call_user, load_user_object

PARTS = ("train", "val", "test")
DIRECTIONS = ("maximize", "minimize")


@dataclass(frozen=True)
class UserData:
    """What `build_data` returned, checked."""

    loaders: Mapping[str, Any]
    loss: Callable[[Tensor, Tensor], Tensor] | None
    metrics: Mapping[str, UserMetric]


def load_user_data(reference: str) -> UserData:
    """Call `FILE.py:FUNCTION`, which returns a dictionary or an object with `train`, `val` and `test`.

    Each is a DataLoader (or any iterable) of `(x, y)`. Optional: `loss(predictions, targets)` and
    `metrics = {name: (function, "maximize" | "minimize")}`. Raises DatasetError for anything else.
    """
    built = call_user(load_user_object(reference), reference)
    values = (
        built if isinstance(built, Mapping) else {key: getattr(built, key, None) for key in (*PARTS, "loss", "metrics")}
    )
    missing = [part for part in PARTS if values.get(part) is None]
    if missing:
        raise DatasetError(
            f"{reference} returned no {', '.join(missing)}; it must return train, val and test DataLoaders"
        )
    metrics = values.get("metrics") or {}
    for name, metric in metrics.items():
        if not (isinstance(metric, tuple) and len(metric) == 2 and callable(metric[0]) and metric[1] in DIRECTIONS):
            raise DatasetError(
                f"{reference}: metrics['{name}'] must be (function, 'maximize' or 'minimize'), got {metric!r}"
            )
    return UserData({part: values[part] for part in PARTS}, values.get("loss"), metrics)


def in_stored_order(loader: Any) -> Any:
    """The same rows in the order in which they are stored: a loader that shuffles is built again without."""
    if not isinstance(loader, DataLoader) or isinstance(loader.dataset, IterableDataset):
        return loader
    sampler = getattr(loader.batch_sampler, "sampler", loader.sampler)
    if isinstance(sampler, SequentialSampler):
        return loader
    if not isinstance(sampler, RandomSampler):
        return loader
    return DataLoader(loader.dataset, batch_size=loader.batch_size, collate_fn=loader.collate_fn, shuffle=False)


def infer_classes(y: Any) -> int | None:
    """The number of classes if `y` holds classes (integers, one a row), else None."""
    if isinstance(y, Tensor) and y.ndim == 1 and not torch.is_floating_point(y) and y.dtype is not torch.bool:
        return int(y.max()) + 1
    return None
