"""Statistics of a batch norm that are measured under a plan, in place of those of the float network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from chop.formats.base import Format
from chop.formats.measured_tensor import MeasuredTensor


@dataclass(frozen=True)
class BatchNormStatistics(Format):
    """Mean and variance `(channels)` of the inputs of a batch norm, measured on the calibration samples under the plan.

    Everything before the norm has the formats of the plan. Mean and variance are open (None) until a run under the
    whole plan has measured them.

    A plan holds it at the operand `statistics` of the norm. It rounds nothing, and a circuit stores nothing more: the
    float network's mean and variance are replaced.
    """

    mean: MeasuredTensor | None = None
    variance: MeasuredTensor | None = None

    def __str__(self) -> str:
        return "measured under the plan"

    @property
    def is_open(self) -> bool:
        return self.mean is None or self.variance is None

    def reopened(self) -> BatchNormStatistics:
        return BatchNormStatistics()

    def bits(self, shape: Sequence[int]) -> int:
        return 0

    def closed(self, found: Tensor) -> BatchNormStatistics:
        """The statistics that were `found`, `(2, channels)`."""
        return BatchNormStatistics(*map(MeasuredTensor, found))

    def _round(self, x: Tensor) -> Tensor:
        return x.clone()
