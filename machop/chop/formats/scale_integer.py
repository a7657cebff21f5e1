"""Integers with a measured real scale, as in ONNX's QuantizeLinear and DequantizeLinear."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

import numpy as np
import torch
from torch import Tensor

from chop.formats.base import (
    FLOAT_BITS,
    FORMATS,
    Arithmetic,
    Law,
    OneByOne,
    count,
    require_bool,
    require_choice,
    require_int,
    require_share,
)
from chop.formats.grid import Grid
from chop.formats.measured import (
    GRANULARITIES,
    ChannelScales,
    by_channel,
    channels,
    measured_range,
    one_sample,
    spread,
)

MAX_WIDTH = 16
LARGEST = torch.finfo(torch.float32).max / 2
RANGE_RULES = ("min_max", "quantile")


@FORMATS.register("scale_integer")
@dataclass(frozen=True, kw_only=True)
class ScaleInteger(ChannelScales):
    """(clamp(round(x / scale) + zero point) - zero point) · scale, in two's complement of `width` bits, half to even.

    The scale covers the measured range (`range_rule`: min_max, or the share `quantile` of the values), of the tensor or
    of each channel (`granularity`). `symmetric`: the zero point is 0; else it is measured too. Scales count 32 bits
    each, zero points `width` bits. The law `odd` fails at the lower end, which reaches one step further, and where
    the zero point is not 0.

    >>> ScaleInteger(width=4).quantize(torch.tensor([0.7, 0.26, -0.1]))
    tensor([ 0.7000,  0.3000, -0.1000])
    """

    context_fields: ClassVar[frozenset[str]] = frozenset({"channel_axis", "channel_groups", "scale", "zero_point"})
    arithmetic: ClassVar[Arithmetic] = "integer"

    width: int
    granularity: str = "tensor"
    symmetric: bool = True
    range_rule: str = "min_max"
    quantile: float = 0.999
    channel_axis: int = 0
    channel_groups: int = 1
    scale: tuple[float, ...] | None = None
    zero_point: tuple[int, ...] = (0,)

    def __post_init__(self) -> None:
        require_int("width", self.width, 2, MAX_WIDTH)
        require_choice("granularity", self.granularity, GRANULARITIES)
        require_bool("symmetric", self.symmetric)
        require_choice("range_rule", self.range_rule, RANGE_RULES)
        require_share("quantile", self.quantile)
        if self.range_rule != "quantile":
            object.__setattr__(self, "quantile", 0.999)

    def __str__(self) -> str:
        notes = [] if self.symmetric else ["affine"]
        notes += ["by channel"] if self.granularity == "channel" else []
        return " ".join(["scale_integer", str(self.width), *notes])

    @property
    def laws(self) -> frozenset[Law]:
        return frozenset({"idempotent", "monotone", "nearest"})

    @property
    def code_range(self) -> tuple[int, int]:
        """The least and the greatest integer code."""
        return -(1 << self.width - 1), (1 << self.width - 1) - 1

    def calibrated(self, x: Tensor) -> Self:
        """The format with the scale, and the zero point, that cover the range of `x`."""
        if not self.is_measured:
            return self
        values = by_channel(x, self.granularity, self.channel_axis, self.channel_groups)
        low, high = measured_range(values, self.range_rule, self.quantile)
        # Half of float32's range, so that no code times the scale overflows.
        low, high = low.clamp(min=-LARGEST), high.clamp(max=LARGEST)
        first, last = self.code_range
        scale = torch.maximum(high, -low) / last if self.symmetric else (high - low) / (last - first)
        scale = torch.where(scale.float() > torch.finfo(torch.float32).tiny, scale, 1.0).float()
        points = (first - low / scale).round().clamp(first, last) if not self.symmetric else torch.zeros_like(scale)
        return replace(self, scale=tuple(scale.tolist()), zero_point=tuple(int(point) for point in points))

    def grid(self, x: Tensor) -> Grid | None:
        """The codes without their zero points; None unless every scale is a power of two."""
        if self.scale is None or any(math.frexp(scale)[0] != 0.5 for scale in self.scale):
            return None
        fractions = one_sample([1 - math.frexp(scale)[1] for scale in self.scale], x, *self._channels)
        offset = np.asarray(one_sample([*map(float, self.zero_point)], x, *self._channels), dtype=np.int64)
        low, high = self.code_range
        return Grid.of(fractions, low - offset, high - offset)

    @property
    def _channels(self) -> tuple[int, int]:
        return self.channel_axis, self.channel_groups

    def bits(self, shape: Sequence[int]) -> int:
        return count(shape) * self.width + self.shared_bits(shape)

    def shared_bits(self, shape: Sequence[int]) -> int:
        scales = channels(shape, self.granularity, self.channel_axis, self.channel_groups)
        return (FLOAT_BITS + (0 if self.symmetric else self.width)) * scales

    def values(self, x: Tensor) -> Tensor | None:
        if self.scale is None or len(self.scale) > 1:
            return None
        low, high = self.code_range
        return ((torch.arange(low, high + 1.0) - self.zero_point[0]) * self.scale[0]).double()

    def _round(self, x: Tensor) -> Tensor:
        return self._round_with(x, *self._parameters_for(x))

    def _parameters_for(self, x: Tensor) -> tuple[Any, Any]:
        """The scale and the zero point of each value: numbers, or tensors that broadcast to `x`."""
        assert self.scale is not None
        points = [float(value) for value in self.zero_point]
        return (
            spread(self.scale, x, self.channel_axis, self.channel_groups),
            spread(points, x, self.channel_axis, self.channel_groups) if any(points) else 0.0,
        )

    def _round_with(self, x: Tensor, scale: Any, point: Any) -> Tensor:
        low, high = self.code_range
        codes: Tensor = (x / scale).round_()
        if not any(self.zero_point):
            return codes.clamp_(low, high).mul_(scale)
        return codes.add_(point).clamp_(low, high).sub_(point).mul_(scale)

    def one_by_one(self, x: Tensor) -> OneByOne:
        chosen = self.calibrated(x.detach())
        return OneByOne(
            chosen._round_with,
            tuple(torch.as_tensor(own, dtype=x.dtype, device=x.device) for own in chosen._parameters_for(x)),
        )
