"""The task regression: the user's own loss, or the squared error."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from chop.errors import ChopError
from chop.scoring.accumulator import Accumulator
from chop.scoring.kept_outputs import KeptOutputs
from chop.scoring.losses import MeanLoss, per_sample_loss
from chop.scoring.task import TASKS, Task
from chop.tools.counted_samples import counted_samples


@TASKS.register("regression")
class Regression(Task):
    """Predicts numbers: the loss of the data, or the squared error, as a mean over each sample's outputs."""

    targets_are_values = True

    def values(self, outputs: Tensor, targets: Tensor) -> Mapping[str, Tensor]:
        return {"loss": per_sample_loss(outputs, targets, self.data_loss or squared_error)}

    def require_data(self, x: Any, targets: Tensor) -> None:
        if self.data_loss is None and not bool((is_finite := targets.isfinite()).all()):
            counted = counted_samples(~is_finite.reshape(len(targets), -1).all(1))
            raise ChopError(
                f"the targets hold NaN or infinity in {counted}; leave those samples out, or give a loss of your own"
            )

    def accumulators(self, kept: KeptOutputs, by_sample: bool) -> list[Accumulator]:
        return [MeanLoss(self.data_loss or squared_error, kept)]


def squared_error(outputs: Tensor, targets: Tensor) -> Tensor:
    """The squared error of each output, in the shape of the outputs; raises ChopError for targets of another shape."""
    if outputs.shape != targets.shape:
        raise ChopError(
            f"the model gives {tuple(outputs.shape)} for targets {tuple(targets.shape)}: squared errors need a target "
            "for each output"
        )
    return (outputs - targets) ** 2
