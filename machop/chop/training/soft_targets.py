"""Holds the samples of a set in memory, with targets that may be mixed with a teacher's outputs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from chop.dataset.data import Data
from chop.dataset.rows import count_rows, cut, form_of, join
from chop.errors import ChopError
from chop.scoring.classification import Classification
from chop.scoring.task import Task
from chop.tools.model_outputs import OutputName

ROWS = 8192
"""Samples that go through a network at once where nothing is trained."""


@dataclass(frozen=True)
class Samples:
    """Inputs `x` and targets `y` of a set; `shares` `(samples, classes)` are soft targets, None without a teacher."""

    x: Any
    y: Tensor
    task: Task
    output: OutputName = None
    shares: Tensor | None = None

    def __len__(self) -> int:
        return len(self.y)

    @torch.no_grad()
    def taught(self, teacher: Callable[[Any], Tensor], share: float) -> Samples:
        """The samples with soft targets, `share` of them the teacher's outputs.

        They stay as they are where the loss is not the cross entropy of one class for each sample.
        """
        if not isinstance(self.task, Classification) or self.task.data_loss is not None or self.y.ndim != 1:
            return self
        rows = range(0, len(self), ROWS)
        outputs = torch.cat([teacher(cut(self.x, row, row + ROWS)) for row in rows])
        if outputs.ndim != 2 or self.y.is_floating_point() or int(self.y.min()) < 0:
            return self
        hard = F.one_hot(self.y, outputs.shape[1]).to(outputs.dtype)
        return replace(self, shares=share * outputs.softmax(1) + (1 - share) * hard)

    def loss(self, outputs: Tensor) -> float:
        """The mean loss of the outputs for all samples, on the targets themselves."""
        found = self.task.loss(outputs.requires_grad_(), self.y)
        assert found is not None
        return float(found.detach())


def all_samples(data: Data, part: str) -> Samples:
    """All samples of a set; raises ChopError where they are of several forms."""
    batches = list(data.batches(part))
    if len({repr(form_of(x)) for x, _ in batches}) != 1:
        raise ChopError(f"the samples of '{part}' have several forms (lengths); widths are trained on samples of one")
    x = join([x for x, _ in batches])
    y = torch.cat([y for _, y in batches])
    assert count_rows(x) == len(y)
    return Samples(x, y, data.task, data.output)
