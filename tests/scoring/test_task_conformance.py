"""Our own tasks, and one of a user's own, in the suite that ships for others."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Generator, Tensor

from chop.scoring.metric import LOSS, Metric
from chop.scoring.regression import squared_error
from chop.scoring.task import Task
from chop.testing import TaskConformance


class Counting(Task):
    """Counts of things: squared error, and the share that is told to the number."""

    own_metrics = (LOSS, Metric("exact", "", "maximize", (0.0, 1.0)))
    monitor = "exact"

    def values(self, outputs: Tensor, targets: Tensor) -> Mapping[str, Tensor]:
        error = outputs[:, 0] - targets
        return {"loss": error**2, "exact": (error.round() == 0).float()}


class TestClassification(TaskConformance):
    tasks = ("cls", ("cls", {"num_classes": 5}), ("regression", {"loss": torch.nn.CrossEntropyLoss(reduction="none")}))

    def example(self, samples: int, generator: Generator) -> tuple[Tensor, Tensor]:
        targets = torch.arange(samples) % 5
        return torch.randn(samples, 5, generator=generator), targets


class TestTokenClassification(TaskConformance):
    tasks = (("cls", {"num_classes": 3}),)

    def example(self, samples: int, generator: Generator) -> tuple[Tensor, Tensor]:
        targets = torch.randint(3, (samples, 6), generator=generator)
        return torch.randn(samples, 6, 3, generator=generator), _with_gaps(targets, generator)


class TestSegmentation(TaskConformance):
    tasks = ("segmentation", ("segmentation", {"num_classes": 3}))

    def example(self, samples: int, generator: Generator) -> tuple[Tensor, Tensor]:
        targets = torch.randint(3, (samples, 4, 5), generator=generator)
        return torch.randn(samples, 3, 4, 5, generator=generator), _with_gaps(targets, generator)


class TestRegression(TaskConformance):
    tasks = ("regression", ("regression", {"loss": squared_error}), ("regression", {"loss": torch.nn.MSELoss()}))

    def example(self, samples: int, generator: Generator) -> tuple[Tensor, Tensor]:
        return torch.randn(samples, 7, generator=generator), torch.randn(samples, 7, generator=generator)


class TestLanguageModel(TaskConformance):
    tasks = ("lm",)

    def example(self, samples: int, generator: Generator) -> tuple[Tensor, Tensor]:
        targets = torch.randint(50, (samples, 9), generator=generator)
        return torch.randn(samples, 9, 50, generator=generator), _with_gaps(targets, generator)


class TestOwnTask(TaskConformance):
    tasks = (Counting,)

    def example(self, samples: int, generator: Generator) -> tuple[Tensor, Tensor]:
        targets = torch.randint(6, (samples,), generator=generator).float()
        return targets.unsqueeze(1) + 0.7 * torch.randn(samples, 1, generator=generator), targets


def _with_gaps(targets: Tensor, generator: Generator) -> Tensor:
    """Targets of which some have no label, at least two of each sample do."""
    gaps = torch.rand(targets.shape, generator=generator) < 0.3
    gaps.view(len(targets), -1)[:, :3] = False
    return targets.masked_fill(gaps, -100)
