"""Statistics of a batch norm that are measured under a plan, in place of those of the float network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor

from chop.formats.base import Format
from chop.formats.measured_tensor import MeasuredTensor

MOST_ERRORS = 4.0
"""The most standard errors by which two means of one network may differ."""

MOST_SPREAD = 12.0
"""The most by which two variances of one network may differ: relative, times the root of the number of samples.

For normal values the standard error is the root of 2; activations have long tails.
"""


@dataclass(frozen=True)
class FloatStatistics:
    """Mean and variance of a norm's inputs in the float network, each tensor `(2, channels)`.

    `running` are those that the network has, from all of its training samples; `seen` those of its inputs on
    `samples` calibration samples.
    """

    running: MeasuredTensor
    seen: MeasuredTensor
    samples: int

    def corrected(self, found: Tensor) -> Tensor:
        """Statistics `(2, *, channels)` that were `found` under a plan, less the error that a few samples make.

        The float network makes nearly the same error on the same samples, and there it is known: a control variate.
        The mean moves by what `running` and `seen` differ by, in proportion to the spread. Of the variance, the part
        that the float network has too is scaled, and what rounding has added is added. A channel in which `running`
        and `seen` differ by more than the error of so few samples stays as it was found.

        >>> running, seen = torch.tensor([[1.1], [1.2]]), torch.tensor([[1.0], [1.0]])
        >>> FloatStatistics(*map(MeasuredTensor, (running, seen)), 512).corrected(torch.tensor([[3.0], [1.5]]))
        tensor([[3.1000],
                [1.7000]])
        """
        mean, variance = found.double()
        is_of_one_network, moved, own_variance, seen_variance = (own.to(found.device) for own in self._by_channel)
        kept = torch.where(seen_variance > 0, variance / seen_variance, 1.0).clamp_(max=1.0)
        corrected = torch.stack(
            [mean + moved * kept.sqrt(), own_variance * kept + (variance - seen_variance).clamp_(min=0.0)]
        )
        return torch.where(is_of_one_network, corrected.to(found.dtype), found)

    @property
    def are_of_one_network(self) -> bool:
        """Whether `running` and `seen` differ in no channel by more than the error of so few samples."""
        return bool(self._by_channel[0].all())

    @cached_property
    def _by_channel(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """For each channel: whether both may be of one network, the distance of their means, both variances."""
        (own_mean, own_variance), (mean, variance) = (own.values.double() for own in (self.running, self.seen))
        most = 1 + MOST_SPREAD / self.samples**0.5
        widest = torch.maximum(own_variance, variance)
        is_near = (own_mean - mean).square() * self.samples <= MOST_ERRORS**2 * widest
        is_near &= (own_variance <= most * variance) & (variance <= most * own_variance)
        return is_near, own_mean - mean, own_variance, variance


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
        return BatchNormStatistics(*map(MeasuredTensor, self.corrected(found)))

    def corrected(self, found: Tensor) -> Tensor:
        """What is taken of statistics `(2, *, channels)` that were `found` on the calibration samples."""
        return found

    def _round(self, x: Tensor) -> Tensor:
        return x.clone()


@dataclass(frozen=True)
class StatisticsBesideFloat(BatchNormStatistics):
    """Open statistics that are corrected by those of the float network; closed, they are plain ones."""

    in_float: FloatStatistics = field(kw_only=True)

    def corrected(self, found: Tensor) -> Tensor:
        return self.in_float.corrected(found)
