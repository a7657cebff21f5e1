"""A data set of the user's own: DataLoaders for three parts, and perhaps a loss and metrics."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset, Subset
from torch.utils.data.sampler import RandomSampler, SequentialSampler, SubsetRandomSampler, WeightedRandomSampler

from chop.dataset.info import UserMetric
from chop.dataset.rows import Batch, join
from chop.errors import DatasetError
from chop.tools.logger import get_logger
from chop.tools.user_code import call_user, load_user_object

logger = get_logger(__name__)

PARTS = ("train", "val", "test")
OPTIONAL = ("loss", "metrics", "num_classes")
SHUFFLING = (RandomSampler, SubsetRandomSampler, WeightedRandomSampler)
DIRECTIONS = ("maximize", "minimize")
INFER = -1
"""`num_classes` of data that do not say: found from the targets."""


@dataclass(frozen=True)
class UserData:
    """What `build_data` returned, checked."""

    loaders: Mapping[str, Any]
    loss: Callable[[Tensor, Tensor], Tensor] | None
    metrics: Mapping[str, UserMetric]
    num_classes: int | None = INFER


def load_user_data(reference: str, batch_size: int) -> UserData:
    """Call `FILE.py:FUNCTION`, which returns a dictionary or an object with `train`, `val` and `test`.

    Each is a DataLoader (or a list) of `(x, y)`. Optional: `loss(predictions, targets)`, `num_classes` (None: the
    targets are no classes) and `metrics = {name: (function, "maximize" | "minimize")}`. A function with an argument
    `batch_size` is given it. Raises DatasetError for anything else.
    """
    values = _as_mapping(_call(reference, batch_size))
    missing = [part for part in PARTS if values.get(part) is None]
    if missing:
        raise DatasetError(
            f"{reference} returned no {', '.join(missing)}; it must return train, val and test DataLoaders"
        )
    loaders = {part: _readable_again(values[part], part, reference) for part in PARTS}
    metrics = values.get("metrics") or {}
    for name, metric in metrics.items():
        _check_metric(name, metric, reference)
    return UserData(loaders, values.get("loss"), metrics, values.get("num_classes", INFER))


def read_all(loader: Any, part: str) -> Batch:
    """All rows of a loader in stored order, as one `(x, y)`; raises DatasetError where it gives anything else."""
    batches = list(_batches(in_stored_order(loader), part))
    if not batches:
        raise DatasetError(f"the {part} part is empty: give it at least one row")
    return join([x for x, _ in batches]), join([y for _, y in batches])


def in_stored_order(loader: Any) -> Any:
    """The same rows in the order in which they are stored: a loader that shuffles or drops rows is built anew.

    A sampler of the user's own, whose order only it knows, is left as it is.
    """
    if not isinstance(loader, DataLoader) or isinstance(loader.dataset, IterableDataset):
        return loader
    sampler = getattr(loader.batch_sampler, "sampler", loader.sampler)
    is_whole = isinstance(sampler, SequentialSampler) and not loader.drop_last
    if is_whole or not isinstance(sampler, (SequentialSampler, *SHUFFLING)):
        return loader
    dataset = loader.dataset
    if isinstance(sampler, SubsetRandomSampler):
        dataset = Subset(dataset, list(sampler.indices))
    return DataLoader(dataset, batch_size=loader.batch_size, collate_fn=loader.collate_fn, shuffle=False)


def infer_classes(targets: Sequence[Any]) -> int | None:
    """The number of classes if all targets are classes (integers from 0, one a row), else None.

    >>> infer_classes([torch.tensor([0, 2]), torch.tensor([1])]), infer_classes([torch.tensor([0.5])])
    (3, None)
    """
    return max(int(y.max()) for y in targets) + 1 if all(_are_classes(y) for y in targets) else None


def _are_classes(y: Any) -> bool:
    if not isinstance(y, Tensor) or y.ndim != 1 or y.dtype is torch.bool or y.is_floating_point() or y.is_complex():
        return False
    return int(y.min()) >= 0


def _call(reference: str, batch_size: int) -> Any:
    build = load_user_object(reference)
    if not callable(build):
        raise DatasetError(f"{reference} is a {type(build).__name__}; name a function that returns the data")
    if "batch_size" in inspect.signature(build).parameters:
        return call_user(lambda: build(batch_size=batch_size), reference)
    logger.info("%s takes no batch_size: batches are as its loaders make them", reference)
    return call_user(build, reference)


def _as_mapping(built: Any) -> Mapping[str, Any]:
    if isinstance(built, Mapping):
        return built
    return {key: getattr(built, key) for key in (*PARTS, *OPTIONAL) if hasattr(built, key)}


def _readable_again(loader: Any, part: str, reference: str) -> Any:
    if isinstance(loader, Iterator) or not (hasattr(loader, "__iter__") or hasattr(loader, "__getitem__")):
        raise DatasetError(
            f"{reference}: {part} is a {type(loader).__name__}, which cannot be read again and again; "
            "return a torch DataLoader or a list of (x, y)"
        )
    return loader


def _check_metric(name: str, metric: Any, reference: str) -> None:
    if not (isinstance(metric, tuple) and len(metric) == 2 and callable(metric[0]) and metric[1] in DIRECTIONS):
        raise DatasetError(
            f"{reference}: metrics['{name}'] must be (function, 'maximize' or 'minimize'), got {metric!r}"
        )


def _batches(loader: Any, part: str) -> Iterator[Batch]:
    for batch in loader:
        if not isinstance(batch, (tuple, list)) or len(batch) != 2:
            size = f" of {len(batch)}" if isinstance(batch, (tuple, list)) else ""
            raise DatasetError(f"the {part} part gives a {type(batch).__name__}{size} where (x, y) belongs")
        x, y = batch
        yield (x if isinstance(x, (Tensor, dict)) else tuple(x)), y
