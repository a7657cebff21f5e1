"""Turns the user's data (arrays, DataLoaders, a name) into the data module of a search."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, IterableDataset

from chop.api.arguments import naming
from chop.dataset import DATASETS, MaseDataModule
from chop.dataset.arrays import SPLIT, SampleArrays, is_pair
from chop.dataset.data import PARTS
from chop.dataset.reading import LABELS
from chop.dataset.user_data import OPTIONAL
from chop.errors import DatasetError
from chop.ir import MaseGraph
from chop.scoring.task import TASKS, Task
from chop.tools.user_code import is_user_reference


class HasLoaders(Protocol):
    """An object with DataLoaders by method, such as a `LightningDataModule`."""

    def train_dataloader(self) -> Any:
        """The DataLoader of the training samples."""


class HasParts(Protocol):
    """An object with DataLoaders, or arrays `(x, y)`, as attributes."""

    @property
    def train(self) -> Any:
        """The training samples."""


UserData = str | MaseDataModule | Mapping[str, Any] | Sequence[Any] | HasLoaders | HasParts
"""The forms of data that a search takes; `chop.search` lists them."""


def data_module_of(
    data: UserData,
    *,
    task: str | type[Task] | None = None,
    loss: Any = None,
    metrics: Mapping[str, Any] | None = None,
    split: Sequence[float] = SPLIT,
    batch_size: int = 128,
    max_token_len: int = 512,
    seed: int = 0,
    real: torch.dtype = torch.float32,
) -> MaseDataModule:
    """The data module of `data`, set up; `chop.search` lists what `data` may be. Arrays of real inputs become `real`.

    Raises DatasetError for anything else, and for a part that is missing.
    """
    with naming("data"):
        if isinstance(data, MaseDataModule):
            return _as_it_is(data, task, loss, metrics)
        name = data if isinstance(data, str) else "data"
        built = _built(data, loss, metrics, SampleArrays(batch_size, seed, split, real))
        with naming("task"):
            chosen = _task_name(task, built)
        module = MaseDataModule(
            name, batch_size, seed=seed, task=chosen, max_token_len=max_token_len, built=built or None
        )
        module.prepare_data()
        module.setup()
        return module


def real_type(model: Any) -> torch.dtype:
    """The type of the real parameters of a module or a graph; float32 for anything else."""
    module = model.model if isinstance(model, MaseGraph) else model
    parameters = module.parameters() if isinstance(module, nn.Module) else ()
    return next((own.dtype for own in parameters if own.is_floating_point()), torch.float32)


def unused_by(data: UserData) -> dict[str, str]:
    """The arguments of `chop.search` that have no effect on `data`, each with the reason."""
    if is_pair(data):
        return {}
    if isinstance(data, str):
        return {"split": "a data set by name has its own parts"}
    whole = {"split": "the data have their own parts"}
    if isinstance(data, Mapping):
        parts = [data.get(part) for part in PARTS]
    else:
        parts = list(data) if isinstance(data, (tuple, list)) else [getattr(data, part, None) for part in PARTS]
    if any(map(is_pair, parts)):
        return whole
    return {**whole, "batch_size": "the data's own loaders make the batches"}


def _as_it_is(data: MaseDataModule, task: Any, loss: Any, metrics: Any) -> MaseDataModule:
    given = {"task": task, "loss": loss, "metrics": metrics}
    for name in (name for name, value in given.items() if value is not None):
        raise DatasetError(f"a data module has a {name} of its own: leave out {name}=, or give the loaders")
    data.prepare_data()
    data.setup()
    return data


def _task_name(task: str | type[Task] | None, built: Mapping[str, Any]) -> str:
    """The name of the task; of None regression where the first targets are no whole numbers, else classification."""
    if isinstance(task, type):
        return TASKS.adopt(task, task.__name__)
    if task is not None:
        return TASKS.canonical(task)
    own = None if not built or "num_classes" in built else _first_targets(built["train"])
    return "regression" if own is not None and (own.is_floating_point() or own.is_complex()) else "classification"


def _first_targets(loader: Any) -> Tensor | None:
    """The targets of a first batch, None where they cannot be had without using it up."""
    if isinstance(loader, DataLoader) and isinstance(loader.dataset, IterableDataset):
        return None
    try:
        with torch.random.fork_rng(devices=[]):
            batch = next(iter(loader))
        y = next(batch[key] for key in LABELS if key in batch) if isinstance(batch, Mapping) else batch[1]
        return torch.as_tensor(y)
    except Exception:  # of the user's own code: what is wrong with it is told where it is read
        return None


def _built(data: Any, loss: Any, metrics: Any, arrays: SampleArrays) -> dict[str, Any]:
    """Loaders of all parts and what else the data state; empty for a data set by name that needs no more."""
    if isinstance(data, str):
        return _of_name(data, loss, metrics, arrays)
    values = _values(data, arrays)
    missing = [part for part in PARTS if values.get(part) is None]
    if missing:
        raise DatasetError(
            f"has no {' and no '.join(missing)}: give train, val and test, or (x, y), which is split by split="
        )
    stated = {"loss": loss, "metrics": metrics}
    values |= {name: value for name, value in stated.items() if value is not None}
    return {name: arrays.loader(name, own) if name in PARTS else own for name, own in values.items()}


def _of_name(name: str, loss: Any, metrics: Any, arrays: SampleArrays) -> dict[str, Any]:
    if is_user_reference(name):
        if loss is not None or metrics is not None:
            raise DatasetError("a FILE.py:FUNCTION returns its own loss and metrics: leave out loss= and metrics=")
        return {}
    known = DATASETS[name]
    if loss is None and metrics is None:
        return {}
    parts = known.load()
    loaders: dict[str, Any] = {
        part: arrays.loader(part, (own.x, own.y)) for part in PARTS if (own := getattr(parts, part))
    }
    return {**loaders, "loss": loss, "metrics": metrics}


def _values(data: Any, arrays: SampleArrays) -> dict[str, Any]:
    """The parts as the user has them, by name."""
    if is_pair(data):
        return arrays.parts(*data)
    if isinstance(data, (tuple, list)) and len(data) == 3:
        return dict(zip(PARTS, data, strict=True))
    if isinstance(data, Mapping):
        return dict(data)
    if hasattr(data, "prepare_data") and hasattr(data, "setup"):  # a data module of Lightning
        data.prepare_data()
        data.setup("fit")
        data.setup("test")
    named: dict[str, Any] = {
        part: getattr(data, f"{part}_dataloader")() for part in PARTS if hasattr(data, f"{part}_dataloader")
    }
    named |= {name: getattr(data, name) for name in (*PARTS, *OPTIONAL) if hasattr(data, name)}
    if not named:
        raise DatasetError(
            f"is a {type(data).__name__}: give (train, val, test) DataLoaders, a dictionary of these, arrays (x, y), "
            "or the name of a data set (ch info dataset)"
        )
    return named
