"""Data of any kind: what is measured on an object that is no `MaseDataModule`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from chop.actions.search import search
from chop.dataset import DatasetInfo
from chop.dataset.data import first_batch
from chop.models import get_model
from chop.scoring.classification import Classification
from chop.scoring.task import Task
from tests.actions.search.conftest import LAB


class Streaming:
    """Batches that are made as they are asked for, and can be gone through but once an answer."""

    output = None
    dataset_info = DatasetInfo("streaming", 4, 2, 300, "abc", "streaming: numbers that are drawn")
    task: Task = Classification(2)

    def batches(
        self, part: str, num_samples: int | None = None, batch_size: int | None = None
    ) -> Iterator[tuple[Tensor, Tensor]]:
        generator = torch.Generator().manual_seed(len(part))
        x = torch.randn(300, 4, generator=generator)[:num_samples]
        yield from ((own, (own.sum(1) > 0).long()) for own in torch.split(x, batch_size or 128))

    def train_dataloader(self) -> Any:
        return self.batches("train")

    def as_batch(self, batch: Any, part: str = "train") -> Any:
        return batch


def test_batches_that_are_an_iterator_can_be_searched_on(tmp_path: Path) -> None:
    table = {
        "search_space": {
            "name": "graph/quantize/mixed_precision_ptq",
            "setup": {"by": "type"},
            "seed": {"linear": {"config": LAB["search_space"]["seed"]["seq_blocks_2"]["config"]}},
        },
        "strategy": {**LAB["strategy"], "name": "optuna", "setup": {"n_trials": 6}},
    }
    found = search(get_model("toy"), Streaming(), table, tmp_path)
    assert len(found.trials) == 6 and found.best[0].test_metrics is not None
    assert len(first_batch(Streaming(), "val", 3)[1]) == 3
