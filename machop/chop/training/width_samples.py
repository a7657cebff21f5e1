"""Holds the samples of a set in memory, with targets that may be mixed with a teacher's outputs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from chop.dataset.data import Data
from chop.dataset.rows import take
from chop.errors import ChopError
from chop.ir import MaseGraph
from chop.scoring.classification import Classification
from chop.scoring.task import Task
from chop.tools.model_outputs import OutputName
from chop.training.batches import by_form
from chop.training.teacher import Teacher

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

    @property
    def has_classes(self) -> bool:
        """Whether the loss is the cross entropy of one class for each sample."""
        is_entropy = isinstance(self.task, Classification) and self.task.data_loss is None
        return is_entropy and self.y.ndim == 1 and not self.y.is_floating_point()

    def taught(self, graphs: Sequence[MaseGraph], share: float) -> Samples:
        """The samples with soft targets, `share` of them the mean probabilities of `graphs` in float.

        They stay as they are where the loss is not the cross entropy of one class for each sample.
        """
        if not self.has_classes:
            return self
        outputs = [self._outputs_of(graph) for graph in graphs]
        if outputs[0].ndim != 2 or int(self.y.min()) < 0:
            return self
        soft = torch.stack([own.softmax(1) for own in outputs]).mean(0)
        hard = F.one_hot(self.y, soft.shape[1]).to(soft.dtype)
        return replace(self, shares=share * soft + (1 - share) * hard)

    def _outputs_of(self, graph: MaseGraph) -> Tensor:
        teacher = Teacher(graph, [(self.x, self.y)], self.output, "cpu")
        pieces = torch.split(torch.arange(len(self)), ROWS)
        return torch.cat([teacher.outputs(0, rows, take(self.x, rows)) for rows in pieces])

    def loss(self, outputs: Tensor) -> float:
        """The mean loss of the outputs for all samples, on the targets themselves."""
        found = self.task.loss(outputs.requires_grad_(), self.y)
        assert found is not None
        return float(found.detach())


def all_samples(data: Data, part: str) -> Samples:
    """All samples of a set; raises ChopError where they are of several forms."""
    parts = by_form(data.batches(part))
    if len(parts) != 1:
        raise ChopError(f"the samples of '{part}' have several forms (lengths); widths are trained on samples of one")
    return Samples(*parts[0], data.task, data.output)
