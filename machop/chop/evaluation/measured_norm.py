"""The operations of what is measured under each plan: measuring it, batch norm by it, bias correction by it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor

from chop.evaluation.kept import Kept
from chop.evaluation.operations import WEIGHT_BYTES, Operation, Quantise, batch_norm
from chop.evaluation.values import Each, Planes, Rows, Same, Value, as_planes, count_of, each
from chop.formats import BatchNormStatistics, Format, OutputShift
from chop.nn.channel_statistics import channel_statistics, statistics_of_last


@dataclass
class Statistics(Operation):
    """Means and variances of the channels of a value, along `dim`: one sample with two features for each channel.

    So `Rows` of them are `(configurations, 1, 2 · channels)`, and `Planes` are `(2 · channels, configurations, 1)`.

    It runs on calibration samples alone. A choice is what is measured by it, if that is open. For any other it is `own`
    `(2, channels)` (of a batch norm the float network's), or what the `BatchNormStatistics` of a plan hold.
    """

    own: Tensor
    dim: int = 1

    def one(self, choice: Format | None, inputs: Sequence[Value]) -> Value:
        (value,) = inputs
        is_norm = isinstance(choice, BatchNormStatistics)
        if choice is None or not (is_norm or choice.is_open):
            return _for_all(self.own, value)
        if isinstance(choice, BatchNormStatistics) and choice.mean is not None and choice.variance is not None:
            known = torch.stack([choice.mean.on(self.own), choice.variance.on(self.own)])
            return _for_all(known.to(self.own.dtype), value)
        if isinstance(value, Planes):
            found = _taken(choice, statistics_of_last(value.tensor).mT).mT
            return Planes(found.flatten(0, 1).unsqueeze(-1))
        if isinstance(value, Rows):
            channels = value.tensor.movedim(self.dim + 1 if self.dim >= 0 else self.dim, 1).flatten(2)
            found = _taken(choice, statistics_of_last(channels))
            return Rows(found.movedim(0, 1).reshape(len(channels), 1, -1))
        return Rows(torch.stack([_taken(choice, channel_statistics(x, self.dim)).view(1, -1) for x in each(value)]))


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
    _affine: Kept[tuple[Tensor | None, Tensor | None]] = field(default_factory=lambda: Kept(WEIGHT_BYTES))

    def on_last_reading(self, choice: tuple[Format | None, Format | None], inputs: Sequence[Value]) -> Value:
        if self.is_vector and isinstance(inputs[0], Planes):
            return self._of_planes(choice, inputs, may_overwrite=True)
        return self.one(choice, inputs)

    def one(self, choice: tuple[Format | None, Format | None], inputs: Sequence[Value]) -> Value:
        if self.is_vector and not (isinstance(inputs[0], Same) and isinstance(inputs[1], Same)):
            return self._of_planes(choice, inputs, may_overwrite=False)
        weight, bias = self._weight_and_bias(choice, 1)
        values, statistics = each(inputs[0]), each(inputs[1])
        count = max(len(values), len(statistics))
        values, statistics = (own if len(own) == count else [own[0]] * count for own in (values, statistics))
        return Each(
            [
                F.batch_norm(x, mean, variance, weight, bias, False, 0.0, self.eps)
                for x, (mean, variance) in zip(values, (own.view(2, -1) for own in statistics), strict=True)
            ]
        )

    def _of_planes(
        self, choice: tuple[Format | None, Format | None], inputs: Sequence[Value], may_overwrite: bool
    ) -> Value:
        """All features of all configurations as so many channels: `(features, configurations, rows)`."""
        x, statistics = map(as_planes, inputs)
        features, held, rows = x.shape
        if held != statistics.shape[1]:
            held = max(held, statistics.shape[1])
            x, statistics = x.expand(-1, held, -1), statistics.expand(-1, held, -1)
        mean, variance = statistics.reshape(2, -1).contiguous().unbind()
        weight, bias = self._weight_and_bias(choice, held)
        found = batch_norm(x.reshape(1, -1, rows), mean, variance, weight, bias, self.eps, may_overwrite)
        return Planes(found.view(features, held, rows))

    def _weight_and_bias(
        self, choice: tuple[Format | None, Format | None], count: int
    ) -> tuple[Tensor | None, Tensor | None]:
        """Weight and bias in their formats, the value of each feature `count` times: `(features · count)`."""
        if (known := self._affine.get((choice, count))) is None:
            weight, bias = (
                None if own is None else (own if chosen is None else chosen.quantize(own)).repeat_interleave(count)
                for chosen, own in zip(choice, (self.weight, self.bias), strict=True)
            )
            size = sum(own.nbytes for own in (weight, bias) if own is not None)
            known = self._affine.put((choice, count), (weight, bias), size)
        return known


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
        if self.is_vector and not isinstance(value, Same):
            statistics = as_planes(inputs[1])
            scale, shift = choice.correction(statistics.reshape(2, -1, statistics.shape[1]).mT)
            planes = as_planes(value)
            planes = planes if scale is None else planes * scale.T.unsqueeze(-1)
            return self.rounding.one(choice.then, [Planes(planes + shift.T.unsqueeze(-1))])
        values, found = each(value), each(inputs[1])
        values = values if len(values) == len(found) else [values[0]] * len(found)
        return Each([choice.closed(own.view(2, -1)).quantize(x) for x, own in zip(values, found, strict=True)])


def _taken(choice: Format, found: Tensor) -> Tensor:
    """The statistics that a choice makes of those of the calibration samples, both `(2, *, channels)`."""
    return choice.corrected(found) if isinstance(choice, BatchNormStatistics) else found


def _for_all(statistics: Tensor, value: Value) -> Value:
    """The same statistics `(2, channels)` for each configuration of a value, laid out as measured ones are."""
    count = count_of(value)
    if isinstance(value, Planes):
        return Planes(statistics.view(-1, 1, 1).expand(-1, count, 1))
    return Rows(statistics.view(1, 1, -1).expand(count, 1, -1))
