"""The first samples of each set of a data set, as a data set."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from chop.dataset.data import Data
from chop.dataset.info import DatasetInfo
from chop.dataset.rows import Batch
from chop.scoring.task import Task
from chop.tools.model_outputs import OutputName


class FirstSamples:
    """The first `most` samples of each set of `data`; None: all of them. It is a `Data`."""

    def __init__(self, data: Data, most: int | None) -> None:
        self._data = data
        self._most = most

    @property
    def task(self) -> Task:
        """That of the data."""
        return self._data.task

    @property
    def dataset_info(self) -> DatasetInfo:
        """That of the data, all samples of it."""
        return self._data.dataset_info

    @property
    def output(self) -> OutputName:
        """That of the data."""
        return self._data.output

    def batches(self, part: str, num_samples: int | None = None, batch_size: int | None = None) -> Iterable[Batch]:
        """The first samples of a set."""
        limits = [own for own in (self._most, num_samples) if own is not None]
        return self._data.batches(part, min(limits, default=None), batch_size)

    def train_dataloader(self) -> Iterable[Any]:
        """The first training samples, in their order."""
        return self.batches("train")

    def as_batch(self, batch: Any, part: str = "train") -> Batch:
        """A batch as it is."""
        found: Batch = batch
        return found
