"""`MaseDataModule`: the training, validation and test set, as loaders for training and as fixed batches."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

from torch import Tensor
from torch.utils.data import DataLoader

from chop.dataset.arrays import SampleArrays
from chop.dataset.data import PARTS, Part
from chop.dataset.info import DATASETS, DatasetInfo, Parts
from chop.dataset.missing_values import warn_of_missing_values
from chop.dataset.reading import is_spent, joined, labelled_only, read_batch, read_part, without_unlabelled
from chop.dataset.rows import Batch, TensorRows, cut, rows_loader
from chop.dataset.tokens import TokenArrays
from chop.dataset.user_data import UserData, load_user_data, user_data_of
from chop.errors import ChopError, DatasetError, did_you_mean
from chop.scoring.metric import UserMetric
from chop.scoring.task import DEFAULT_TASK, Task, task_class, task_of
from chop.tools.logger import get_logger
from chop.tools.model_outputs import OutputName
from chop.tools.user_code import is_user_reference

logger = get_logger(__name__)

PART_NAMES: Mapping[str, Part] = {
    "train": "train", "train_dataloader": "train",
    "val": "val", "val_dataloader": "val", "validation": "val",
    "test": "test", "test_dataloader": "test",
}  # fmt: skip
MEASURING_BATCH = 4096
MOST_OUTPUTS = 2**24
"""Outputs of a batch that is measured on, as far as targets tell of them: 64 MiB of float32."""


def get_dataset_info(name: str) -> DatasetInfo:
    """The facts of a bundled data set; raises UnknownNameError for an unknown one."""
    return DATASETS[name].info


class MaseDataModule:
    """The data set `name` (of `ch info`, or `FILE.py:FUNCTION`) in batches of `batch_size` samples.

    Call `prepare_data()` and `setup()` first. `model_name` is for data that depend on a model's tokenizer; none of
    the bundled do. `custom_dataset_cache_path` is where downloads would be kept; bundled data need no cache. `task` is
    what the outputs are judged by (`chop.scoring.task.TASKS`); arrays of tokens without an end are cut after
    `max_token_len` tokens. `built` is what `FILE.py:FUNCTION` would return; then `name` is only what it is called.
    """

    def __init__(
        self,
        name: str,
        batch_size: int,
        model_name: str | None = None,
        num_workers: int = 0,
        custom_dataset_cache_path: str | Path | None = None,
        seed: int = 0,
        task: str = DEFAULT_TASK,
        max_token_len: int = 512,
        built: Any = None,
    ) -> None:
        if batch_size < 1:
            raise DatasetError(f"batch_size must be at least 1, got {batch_size}")
        self.task_name = task
        self._task_class = task_class(task)
        self.max_token_len = max_token_len
        self.name = name
        self.batch_size = batch_size
        self.model_name = model_name
        self.num_workers = num_workers
        self.custom_dataset_cache_path = custom_dataset_cache_path
        self.seed = seed
        self._built = built
        self._user = built is not None or is_user_reference(name)
        self._info: DatasetInfo | None = None if self._user else get_dataset_info(name)
        self._parts: Parts | None = None
        self._user_data: UserData | None = None
        self._stored: dict[Part, list[Batch]] = {}
        self._sizes: dict[Part, list[int]] = {}
        self._told_short: set[tuple[Part, int]] = set()

    @property
    def dataset_info(self) -> DatasetInfo:
        """The facts of the data set; a user's data set must be set up first."""
        if self._info is None:
            raise self._not_set_up()
        return self._info

    @property
    def task(self) -> Task:
        """The task that scores outputs on these data, which must be set up."""
        classes = None if self._task_class.targets_are_values else self.dataset_info.num_classes
        return task_of(self.task_name, classes, self.loss, self.metrics)

    @property
    def loss(self) -> Callable[[Tensor, Tensor], Tensor] | None:
        """The loss of the data set; None: cross entropy."""
        return self._user_data.loss if self._user_data else None

    @property
    def metrics(self) -> Mapping[str, UserMetric]:
        """The metrics of the data set, `{name: (function of predictions and targets, direction)}`."""
        return self._user_data.metrics if self._user_data else {}

    @property
    def output(self) -> OutputName:
        """The scored output of a model with several; None: not stated by the data."""
        return self._user_data.output if self._user_data else None

    @property
    def has_own_batches(self) -> bool:
        """Whether batches are as loaders of the user make them, whatever the `batch_size`."""
        return self._user_data is not None and self._user_data.has_own_batches

    def prepare_data(self) -> None:
        """Download nothing: bundled data are local; logs if a cache folder is given, which has no use."""
        if self.custom_dataset_cache_path is not None:
            why = "its own function keeps what it likes" if self._user else "it ships with the package"
            logger.info("%s needs no cache (%s): %s is not used", self.name, why, self.custom_dataset_cache_path)

    def setup(self, stage: str | None = None) -> None:
        """Read the data; `stage` (train, val, test) is accepted, but all sets are read."""
        if self._parts is not None or self._user_data is not None:
            return
        if self._user:
            arrays = TokenArrays(self.batch_size, self.max_token_len, self.seed)
            samples = SampleArrays(self.batch_size, self.seed)
            self._user_data = (
                load_user_data(self.name, self.batch_size, self._task_class, arrays, samples)
                if self._built is None
                else user_data_of(self._built, self.name, self._task_class, arrays, samples)
            )
            self._read()
        else:
            self._parts = DATASETS[self.name].load()
            logger.info("%s", self.dataset_info.provenance)
        self._require_task()

    def _require_task(self) -> None:
        """Raise DatasetError if the task does not fit these data."""
        for part in PARTS:
            start = 0
            for x, y in self._stored_batches(part):
                try:
                    self.task.require_data(x, y)
                except ChopError as error:
                    where = f", from its sample {start:,} on" if start else ""
                    raise DatasetError(f"the {part} set{where}: {error}") from error
                start += len(y)

    def train_dataloader(self) -> DataLoader[Batch]:
        """The training samples, shuffled."""
        return self._loader("train", shuffle=True)

    def val_dataloader(self) -> DataLoader[Batch]:
        """The validation samples, in stored order."""
        return self._loader("val", shuffle=False)

    def test_dataloader(self) -> DataLoader[Batch]:
        """The test samples, in stored order."""
        return self._loader("test", shuffle=False)

    def batches(self, part: str, num_samples: int | None = None, batch_size: int | None = None) -> list[Batch]:
        """The first `num_samples` samples (None: all) of a part in stored order, the same in every call, `[(x, y), …]`.

        Batches that the data pads to other lengths are kept apart. There is no last batch of one sample. Raises
        DatasetError for an unknown part, for fewer than one sample, or before `setup`.
        """
        if num_samples is not None and num_samples < 1:
            raise DatasetError(f"num_samples must be at least 1, got {num_samples}")
        stored = self._stored_batches(_part(part))
        rows = sum(len(y) for _, y in stored)
        if num_samples is not None and num_samples > rows:
            self._tell_short(_part(part), rows, num_samples)
        left = rows if num_samples is None else min(num_samples, rows)
        found: list[Batch] = []
        for x, y in stored:
            bounds = _bounds(min(left, len(y)), batch_size or _measuring_batch(y))
            found += [(cut(x, start, end), y[start:end]) for start, end in bounds]
            left -= min(left, len(y))
        return found

    def as_batch(self, batch: Any, part: str = "train") -> Batch:
        """A batch of a loader as `(x, y)` in the form of `batches`; only samples with a label."""
        if self._user_data is None:
            return batch[0], batch[1]
        found = read_batch(batch, part, self._user_data.target_form)
        return found if self.dataset_info.num_classes is None else without_unlabelled(found)

    def _tell_short(self, part: Part, rows: int, wanted: int) -> None:
        if (part, wanted) not in self._told_short:
            self._told_short.add((part, wanted))
            logger.info("the %s set has %d samples: all are used, not %d", part, rows, wanted)

    def _loader(self, part: Part, shuffle: bool) -> DataLoader[Batch]:
        if self._user_data is not None:
            loader: DataLoader[Batch] = self._user_data.loaders[part]
            return self._as_they_came(part) if part in self._stored and is_spent(loader) else loader
        return rows_loader(self._tensor_rows(part), self.batch_size, self.num_workers, shuffle, self.seed)

    def _tensor_rows(self, part: Part) -> TensorRows:
        if self._parts is None:
            raise self._not_set_up()
        rows: TensorRows = getattr(self._parts, part)
        return rows

    def _as_they_came(self, part: Part) -> Any:
        """The batches of a stream that can be read only once."""
        logger.info("the %s set can be read once only: its samples are kept and come in the same order", part)
        return list(_split(self._stored[part], self._sizes[part]))

    def _stored_batches(self, part: Part) -> list[Batch]:
        """All samples of a set in stored order, in as few batches as their forms allow."""
        if self._user_data is None:
            rows = self._tensor_rows(part)
            return [(rows.x, rows.y)]
        if part not in self._stored:
            self._read()
        return self._stored[part]

    def _read(self) -> None:
        """Read all sets of the user's data, once."""
        data = self._user_data
        assert data is not None
        read = {part: read_part(data.loaders[part], part, data.target_form) for part in PARTS}
        classes = data.target_form.classes({part: [y for _, y in read[part]] for part in PARTS})
        for part, batches in read.items():
            kept = batches if classes is None else labelled_only(batches, part, data.unlabelled)
            warn_of_missing_values(kept, part)
            self._sizes[part] = [len(y) for _, y in kept]
            self._stored[part] = joined(kept, part)
        if self._info is None:
            self._info = self._user_info(classes)

    def _user_info(self, classes: int | None) -> DatasetInfo:
        x, _ = self._stored["train"][0]
        shape: tuple[int, ...] = x.shape[1:] if isinstance(x, Tensor) else ()
        return DatasetInfo(
            name=self.name,
            num_features=shape[0] if len(shape) in (1, 3) else None,
            num_classes=classes,
            rows=sum(sum(sizes) for sizes in self._sizes.values()),
            sha256="",
            provenance="your own data" if self._built is not None else f"{self.name}, your own data",
            image_size=(shape[1], shape[2]) if len(shape) == 3 else None,
        )

    def _not_set_up(self) -> DatasetError:
        return DatasetError(f"the data set '{self.name}' is not set up; call prepare_data() and setup() first")


def _part(name: str) -> Part:
    if name not in PART_NAMES:
        raise DatasetError(f"unknown data set '{name}'{did_you_mean(name, PART_NAMES)} (train, val or test)")
    return PART_NAMES[name]


def _measuring_batch(y: Tensor) -> int:
    """The number of samples to measure together: fewer if each has many outputs."""
    if y.ndim == 1 or y.is_floating_point() or not y.numel():
        return MEASURING_BATCH
    outputs = y[0].numel() * (max(0, int(y.max())) + 1)
    return max(1, min(MEASURING_BATCH, MOST_OUTPUTS // outputs))


def _bounds(rows: int, step: int) -> list[tuple[int, int]]:
    """The bounds of batches of `step` samples; a single sample left over joins the batch before it.

    >>> _bounds(9, 4)
    [(0, 4), (4, 9)]
    """
    starts = list(range(0, rows, step))
    if len(starts) > 1 and step > 1 and rows - starts[-1] == 1:
        starts.pop()
    return list(pairwise([*starts, rows])) if rows else []


def _split(batches: list[Batch], sizes: list[int]) -> Iterator[Batch]:
    """Split joined batches into their original sizes."""
    left = iter(sizes)
    for x, y in batches:
        start = 0
        while start < len(y):
            stop = start + next(left)
            yield cut(x, start, stop), y[start:stop]
            start = stop
