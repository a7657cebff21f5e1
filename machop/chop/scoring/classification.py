"""The task classification: cross entropy, and accuracies if the number of classes is known."""

from __future__ import annotations

from collections.abc import Mapping

import torch.nn.functional as F
from torch import Tensor

from chop.scoring.accumulator import Accumulator, Together
from chop.scoring.class_hits import ClassHits
from chop.scoring.class_scores import class_scores
from chop.scoring.kept_outputs import KeptOutputs
from chop.scoring.losses import MeanLoss, labelled_rows, per_sample_loss
from chop.scoring.metric import LOSS, Loss, Metric
from chop.scoring.task import TASKS, Task

ACCURACY = Metric("accuracy", "", "maximize", (0.0, 1.0))
ACCURACY_MICRO = Metric("accuracy_micro", "", "maximize", (0.0, 1.0))


@TASKS.register("classification", aliases=("cls",))
class Classification(Task):
    """One class for each sample (or token, or pixel): mean cross entropy, macro and micro accuracy.

    Outputs are `(samples, classes)` and targets `(samples,)`, or as `chop.scoring.class_scores` has them.
    """

    @property
    def own_metrics(self) -> tuple[Metric, ...]:  # type: ignore[override]
        """The loss, and the accuracies if the number of classes is known."""
        return (LOSS, ACCURACY, ACCURACY_MICRO) if self.num_classes is not None else (LOSS,)

    @property
    def monitor(self) -> str:  # type: ignore[override]
        """The accuracy if the number of classes is known, else the loss."""
        return "accuracy" if self.num_classes is not None else "loss"

    def values(self, outputs: Tensor, targets: Tensor) -> Mapping[str, Tensor]:
        return {"loss": per_sample_loss(outputs, targets, self.data_loss)}

    def imitation_loss(self, outputs: Tensor, taught: Tensor, targets: Tensor) -> Tensor | None:
        """The cross entropy with the probabilities of the other network (Hinton et al., arXiv:1503.02531).

        The squared error where outputs are scores of no classes: the data have a loss, and state no classes.
        """
        if self.data_loss is not None and self.num_classes is None:
            return super().imitation_loss(outputs, taught, targets)
        scores, soft = class_scores(outputs, targets)[0], class_scores(taught, targets)[0]
        return F.cross_entropy(scores, soft.softmax(1)) if len(scores) else None

    def accumulators(self, kept: KeptOutputs, by_sample: bool) -> list[Accumulator]:
        if self.num_classes is None:
            return [MeanLoss(self.data_loss, kept)]
        return loss_and_hits(self.data_loss, kept, ClassHits(self.num_classes, by_sample))


class CrossEntropyAndHits(Together):
    """Cross entropy and accuracies, of outputs and targets that are brought into one form once for both."""

    parts: tuple[MeanLoss, ClassHits]

    def __init__(self, loss: MeanLoss, hits: ClassHits) -> None:
        super().__init__([])
        self.parts = loss, hits

    def update(self, outputs: Tensor, targets: Tensor) -> None:
        loss, hits = self.parts
        scores, classes = labelled_rows(outputs, targets)
        hits.require_classes(outputs, targets)
        loss.take(scores, classes, targets)
        hits.take(scores, classes, targets)


def loss_and_hits(loss: Loss | None, kept: KeptOutputs, hits: ClassHits) -> list[Accumulator]:
    """The loss of the data (None: cross entropy) beside `hits`."""
    own = MeanLoss(loss, kept)
    return [CrossEntropyAndHits(own, hits)] if loss is None else [own, hits]
