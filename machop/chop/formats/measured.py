"""What formats measure on a tensor before they are used: ranges, by tensor or by channel."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from chop.errors import FormatError

Granularity = Literal["tensor", "channel"]
GRANULARITIES = ("tensor", "channel")
RangeRule = Literal["min_max", "quantile", "mse"]
RANGE_RULES = ("min_max", "quantile", "mse")


def channels(shape: Sequence[int], granularity: str, axis: int) -> int:
    """How many channels a tensor is measured in: one for a whole tensor, and for a vector (a bias)."""
    return shape[axis] if granularity == "channel" and len(shape) > 1 else 1


def by_channel(x: Tensor, granularity: str, axis: int) -> Tensor:
    """`x` as `(channels, values)`, float64; a single channel where it is measured as one tensor.

    A vector (a bias) has no channels of its own.
    """
    values = x.detach().double()
    if granularity == "tensor" or x.ndim < 2 or x.numel() == 0:
        return values.reshape(1, -1)
    return values.movedim(axis, 0).flatten(1)


def spread(measured: Sequence[float], x: Tensor, axis: int) -> Tensor | float:
    """One number per channel, shaped so that it broadcasts to `x`; a plain number where there is but one.

    Raises FormatError where `x` has another number of channels than was measured.
    """
    if len(measured) == 1:
        return measured[0]
    if x.ndim < 2 or x.shape[axis] != len(measured):
        raise FormatError(
            f"{len(measured)} channels were measured, but the tensor has shape {tuple(x.shape)}; calibrate anew"
        )
    shape = [1] * x.ndim
    shape[axis] = len(measured)
    return torch.tensor(measured, dtype=x.dtype, device=x.device).reshape(shape)


def measured_range(values: Tensor, rule: str, quantile: float) -> tuple[Tensor, Tensor]:
    """The range of each channel of `(channels, values)` that is to be held, 0 always in it; 0 to 0 for no values.

    `quantile` keeps that share of the values, as much cut off below as above.
    """
    if values.shape[1] == 0:
        nothing = torch.zeros(values.shape[0], dtype=values.dtype)
        return nothing, nothing
    if not values.isfinite().all():
        raise FormatError("a range cannot be measured: there is NaN or infinity in the values")
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
