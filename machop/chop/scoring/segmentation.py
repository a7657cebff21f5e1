"""The task segmentation: one class per pixel."""

from __future__ import annotations

from torch import Tensor

from chop.errors import ChopError
from chop.scoring.accumulator import Accumulator
from chop.scoring.class_hits import ClassHits, Counts, mean_iou
from chop.scoring.classification import ACCURACY, ACCURACY_MICRO, Classification, loss_and_hits
from chop.scoring.kept_outputs import KeptOutputs
from chop.scoring.metric import LOSS, Metric
from chop.scoring.task import TASKS

MEAN_IOU = Metric("mean_iou", "", "maximize", (0.0, 1.0))


@TASKS.register("segmentation", aliases=("pixel_classification",))
class Segmentation(Classification):
    """Predicts one class per pixel: cross entropy and accuracies over labelled pixels, and mean IoU.

    Outputs are `(samples, classes, height, width)` or have the classes last; targets `(samples, height, width)`.
    """

    own_metrics = (LOSS, ACCURACY, ACCURACY_MICRO, MEAN_IOU)
    monitor = "mean_iou"

    def accumulators(self, kept: KeptOutputs, by_sample: bool) -> list[Accumulator]:
        return loss_and_hits(self.data_loss, kept, PixelHits(self.num_classes, by_sample))


class PixelHits(ClassHits):
    """The accuracies, and `mean_iou`."""

    def require_classes(self, outputs: Tensor, targets: Tensor) -> None:
        if targets.ndim < 2:
            raise ChopError(
                f"segmentation takes a class for each pixel, targets (samples, height, width); these are "
                f"{tuple(targets.shape)}: choose --task cls, or let the data return masks"
            )
        super().require_classes(outputs, targets)

    def metrics(self, counts: Counts) -> dict[str, float]:
        return {**super().metrics(counts), "mean_iou": mean_iou(counts)}
