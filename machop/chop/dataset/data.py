"""What training, measuring and searching ask of data."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Protocol

from chop.dataset.info import DatasetInfo
from chop.dataset.rows import Batch
from chop.scoring.task import Task
from chop.tools.model_outputs import OutputName


class Data(Protocol):
    """Three parts (train, val, test) of a data set, as batches `(x, y)`, and what a network's outputs are judged by.

    `MaseDataModule` is one; an object of your own need not derive from this.
    """

    @property
    def task(self) -> Task:
        """The loss and the metrics."""

    @property
    def dataset_info(self) -> DatasetInfo:
        """Name, sizes, checksum and provenance."""

    @property
    def output(self) -> OutputName:
        """The output that is scored, of a model with several; None: the only one, or `logits`."""

    def batches(self, part: str, num_samples: int | None = None, batch_size: int | None = None) -> Iterable[Batch]:
        """The first `num_samples` samples of a part (None: all) in an order that is the same in every call."""

    def train_dataloader(self) -> Iterable[Any]:
        """The training samples in batches, shuffled."""

    def as_batch(self, batch: Any, part: str = "train") -> Batch:
        """A batch of a loader as `(x, y)`, in the form that `batches` has."""


def first_batch(data: Data, part: str, *limits: int | None) -> Batch:
    """The first batch of a part, within the limits that `Data.batches` takes."""
    return next(iter(data.batches(part, *limits)))
