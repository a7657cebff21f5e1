"""The operations of what is measured under each plan: measuring it, batch norm by it, bias correction by it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from chop.evaluation.operations import Operation, Quantise
from chop.evaluation.values import Each, Planes, Rows, Same, Value, as_planes, as_rows, count_of, each
from chop.formats import BatchNormStatistics, Format, OutputShift
from chop.nn.channel_statistics import channel_statistics, statistics_of_last


@dataclass
class Statistics(Operation):
    """Mean and variance of the channels of a value, along `dim`: `(configurations, channels, 2)`.

    It runs on calibration samples alone. A choice is what is measured by it, if that is open. For any other it is `own`
    `(channels, 2)` (of a batch norm the float network's), or what the `BatchNormStatistics` of a plan hold.
    """

    own: Tensor
    dim: int = 1

    def one(self, choice: Format | None, inputs: Sequence[Value]) -> Value:
        (value,) = inputs
        is_norm = isinstance(choice, BatchNormStatistics)
        if choice is None or not (is_norm or choice.is_open):
            return Rows(self.own.expand(count_of(value), *self.own.shape))
        if isinstance(choice, BatchNormStatistics) and choice.mean is not None and choice.variance is not None:
            known = torch.stack([choice.mean.on(self.own), choice.variance.on(self.own)], 1).to(self.own.dtype)
            return Rows(known.expand(count_of(value), *known.shape))
        if isinstance(value, Planes):
            return Rows(statistics_of_last(value.tensor).transpose(0, 1))
        return Rows(torch.stack([channel_statistics(one, self.dim) for one in each(value)]))


@dataclass
class MeasuredNorm(Operation):
    """Batch norm of its first input by the statistics that are its second; a choice is the formats of weight and bias.

    `is_vector` says that it reads `(rows, features)`. Statistics are laid out contiguously: for others torch has
    another kernel, which moves the last bit.
    """

    weight: Tensor | None
    bias: Tensor | None
    eps: float
    is_vector: bool
    is_fresh = True

    def one(self, choice: tuple[Format | None, Format | None], inputs: Sequence[Value]) -> Value:
        weight, bias = (
            tensor if chosen is None or tensor is None else chosen.quantize(tensor)
            for chosen, tensor in zip(choice, (self.weight, self.bias), strict=True)
        )
        statistics = _statistics(inputs[1])
        if self.is_vector and not all(isinstance(value, Same) for value in inputs):
            return Planes(self._of_planes(as_planes(inputs[0]), statistics, weight, bias))
        values = each(inputs[0])
        count = max(len(values), len(statistics))
        values = values if len(values) == count else [values[0]] * count
        rows = statistics.expand(count, *statistics.shape[1:]).transpose(1, 2).contiguous()
        return Each(
            [
                F.batch_norm(x, mean, variance, weight, bias, False, 0.0, self.eps)
                for x, (mean, variance) in zip(values, rows, strict=True)
            ]
        )

    def _of_planes(self, x: Tensor, statistics: Tensor, weight: Any, bias: Any) -> Tensor:
        """All features of all configurations as so many channels: `x` is `(features, configurations, rows)`."""
        features, held, rows = x.shape
        count = max(held, len(statistics))
        x = x.expand(features, count, rows).reshape(1, -1, rows)
        mean, variance = statistics.expand(count, features, 2).permute(2, 1, 0).reshape(2, -1).contiguous()
        weight, bias = (None if own is None else _of_each(own, count) for own in (weight, bias))
        found = F.batch_norm(x, mean, variance, weight, bias, False, 0.0, self.eps)
        return found.view(features, count, rows)


@dataclass
class ShiftUnderPlan(Operation):
    """Bias correction of its first input by the statistics that are its second, and then rounding.

    A choice that measures nothing under the plan only rounds. `is_vector` says that it reads `(rows, features)`.
    """

    rounding: Quantise
    is_vector: bool

    def one(self, choice: Format | None, inputs: Sequence[Value]) -> Value:
        value = inputs[0]
        if not isinstance(choice, OutputShift) or not choice.is_open:
            return self.rounding.one(choice, [value])
        statistics = _statistics(inputs[1])
        if self.is_vector and not isinstance(value, Same):
            scale, shift = choice.correction(statistics)
            planes = as_planes(value)
            planes = planes if scale is None else planes * scale.T.unsqueeze(-1)
            return self.rounding.one(choice.then, [Planes(planes + shift.T.unsqueeze(-1))])
        values = each(value)
        values = values if len(values) == len(statistics) else [values[0]] * len(statistics)
        return Each([choice.closed(own).quantize(x) for x, own in zip(values, statistics, strict=True)])


def _of_each(own: Tensor, count: int) -> Tensor:
    """The value of each feature `count` times: `(features · count)`."""
    return own.unsqueeze(1).expand(-1, count).reshape(-1)


def _statistics(value: Value) -> Tensor:
    """`(configurations, channels, 2)`."""
    found = value.value[None] if isinstance(value, Same) else as_rows(value)
    assert isinstance(found, Tensor)
    return found
