"""Defines the protocol `Data`: what training, measuring and searching need of a data set."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal, Protocol, get_args

from chop.dataset.info import DatasetInfo
from chop.dataset.rows import Batch
from chop.scoring.task import Task
from chop.tools.model_outputs import OutputName

Part = Literal["train", "val", "test"]
"""A set of samples: for training, for the figures of a search, and for the figures of its best networks."""

PARTS: tuple[Part, ...] = get_args(Part)


class Data(Protocol):
    """A data set as batches `(x, y)` of three sets (train, val, test), with the task that scores outputs.

    `MaseDataModule` is one; an object of your own need not derive from this.
    """

    @property
    def task(self) -> Task:
        """The task: loss and metrics."""

    @property
    def dataset_info(self) -> DatasetInfo:
        """Name, sizes, checksum and provenance."""

    @property
    def output(self) -> OutputName:
        """The name or position of the scored output of a model with several; None: the only one, or `logits`."""

    def batches(self, part: str, num_samples: int | None = None, batch_size: int | None = None) -> Iterable[Batch]:
        """The first `num_samples` samples of a set (None: all) in an order that is the same in every call."""

    def train_dataloader(self) -> Iterable[Any]:
        """The training samples in batches, shuffled."""

    def as_batch(self, batch: Any, part: str = "train") -> Batch:
        """A batch of a loader as `(x, y)`, in the form of `batches`."""


def first_batch(data: Data, part: str, *limits: int | None) -> Batch:
    """The first batch of a set, within the limits that `Data.batches` takes."""
    return next(iter(data.batches(part, *limits)))
