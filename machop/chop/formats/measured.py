"""Measures ranges for formats before they are used, by tensor or by channel."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Self

import torch
from torch import Tensor

from chop.errors import FormatError
from chop.formats.base import Format
from chop.formats.layout import Layout

GRANULARITIES = ("tensor", "channel")
RANGE_RULES = ("min_max", "quantile", "mse")


class ChannelScales(Format):
    """A format with one `scale` for the tensor or for each channel, measured unless it is given (None: open)."""

    granularity: str
    scale: tuple[float, ...] | None

    @property
    def is_elementwise(self) -> bool:
        """Whether the scale is known, and one for all values."""
        return self.scale is not None and len(self.scale) == 1

    @property
    def is_measured(self) -> bool:
        """Whether the scale is still open."""
        return self.scale is None

    @property
    def needs_layout(self) -> bool:
        """Whether there is a scale for each channel."""
        return self.granularity == "channel" and (self.scale is None or len(self.scale) > 1)

    def placed(self, layout: Layout) -> Self:
        """The format for an operand of this layout."""
        return on_channels(self, layout) if self.needs_layout else self


def channels(shape: Sequence[int], granularity: str, axis: int, groups: int = 1) -> int:
    """The number of channels that are measured: one for a whole tensor, and for a vector (a bias)."""
    has_channels = granularity == "channel" and len(shape) > 1 and -len(shape) <= axis
    return shape[axis] * groups if has_channels else 1


def by_channel(x: Tensor, granularity: str, axis: int, groups: int = 1) -> Tensor:
    """`x` as `(channels, values)`, float64; a single channel where it is measured as one tensor.

    A vector (a bias) has no channels of its own, nor has a tensor without the dimension `axis`. `groups` of channels
    may follow each other along dimension 0 (weights of a transposed convolution: `(in, out / groups, …)`).
    """
    values = x.detach().double()
    if granularity == "tensor" or x.ndim < 2 or -x.ndim > axis or x.numel() == 0:
        return values.reshape(1, -1)
    rows = values.movedim(axis, 0)
    if groups > 1:
        rows = rows.reshape(len(rows), groups, -1, *rows.shape[2:]).transpose(0, 1).flatten(0, 1)
    return rows.flatten(1)


def spread(measured: Sequence[float], x: Tensor, axis: int, groups: int = 1) -> Tensor | float:
    """One number per channel, shaped so that it broadcasts to `x`; a plain number where there is but one.

    An `axis` that is counted from the end may lie outside `x`, or be of length 1 there: such a tensor is broadcast to
    the channels. Raises FormatError where `x` has another number of channels than was measured.
    """
    if len(measured) == 1:
        return measured[0]
    numbers = torch.tensor(measured, dtype=x.dtype, device=x.device)
    length = x.shape[axis] * groups if -x.ndim <= axis < x.ndim else 1
    if length != len(measured) and not (length == 1 and axis < 0):
        raise FormatError(
            f"{len(measured)} channels were measured, but the tensor has shape {tuple(x.shape)}; calibrate anew"
        )
    if groups > 1:
        own = numbers.reshape(groups, -1).repeat_interleave(len(x) // groups, 0)
        return own.reshape(*x.shape[:2], *[1] * (x.ndim - 2))
    return numbers.reshape(-1, *[1] * (-axis - 1 if axis < 0 else x.ndim - 1 - axis))


def one_sample(measured: Sequence[float], x: Tensor, axis: int, groups: int = 1) -> Tensor | float:
    """The result of `spread` for one sample of `x` (`(samples, …)`).

    >>> one_sample([1.0, 2.0], torch.ones(3, 2, 4), -2).shape
    torch.Size([2, 1])
    """
    numbers = spread(measured, x, axis, groups)
    return numbers[0] if isinstance(numbers, Tensor) and numbers.ndim == x.ndim else numbers


def on_channels(number_format: Any, layout: Layout) -> Any:
    """A format by channel for an operand of this layout; raises FormatError where its channels cannot be told."""
    if layout.ndim < 2:
        return number_format
    if layout.channels is None:
        raise FormatError(
            f"'{number_format}': the dimension of the channels is unknown here; choose granularity = \"tensor\" for it"
        )
    return replace(number_format, channel_axis=layout.channels)


def finite(values: Tensor) -> Tensor:
    """The values without minus infinity, which marks what is masked; as they are where there is none.

    Raises FormatError for NaN and plus infinity.
    """
    is_finite = values.isfinite()
    if is_finite.all():
        return values
    if not (is_finite | (values == -math.inf)).all():
        raise FormatError(
            "no range can be measured: there is NaN or infinity in the values; look for it in the training "
            "samples and in the weights"
        )
    return values[is_finite]


def measured_range(values: Tensor, rule: str, quantile: float) -> tuple[Tensor, Tensor]:
    """The range of each channel of `(channels, values)` that is to be held, 0 always in it; 0 to 0 for no values.

    `quantile` keeps that share of the values, as much cut off below as above. Minus infinity, a mask, is no value.
    """
    if not values.isfinite().all():
        rows = [measured_range(finite(row).unsqueeze(0), rule, quantile) for row in values]
        return torch.cat([low for low, _ in rows]), torch.cat([high for _, high in rows])
    if values.shape[1] == 0:
        nothing = torch.zeros(values.shape[0], dtype=values.dtype, device=values.device)
        return nothing, nothing
    if rule == "quantile":
        low, high = quantile_of(values, (1 - quantile) / 2), quantile_of(values, (1 + quantile) / 2)
    else:
        low, high = values.amin(1), values.amax(1)
    return low.clamp(max=0.0), high.clamp(min=0.0)


def quantile_of(values: Tensor, share: float) -> Tensor:
    """A quantile of each row, linearly interpolated (torch.quantile refuses more than 16 million values)."""
    ordered = values.sort(dim=1).values
    place = share * (ordered.shape[1] - 1)
    below = int(place)
    above = min(below + 1, ordered.shape[1] - 1)
    return ordered[:, below] + (ordered[:, above] - ordered[:, below]) * (place - below)
