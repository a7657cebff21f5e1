"""Binary numbers: only the sign."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Self

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
)
from chop.formats.measured import GRANULARITIES, ChannelScales, by_channel, channels, finite, spread

HASH = 0x9E3779B1
HASH_RANGE = 1 << 32


@FORMATS.register("binary")
@dataclass(frozen=True, kw_only=True)
class Binary(ChannelScales):
    """`bipolar`: -1 or 1 (0 counts as positive); else 0 or 1 (1 for what is above 0).

    `scaled` puts the mean magnitude in place of 1, of the whole tensor or of each channel (`granularity`), which is
    stored in 32 bits (Rastegari et al., ECCV 2016). `stochastic` takes the upper value with the probability that makes
    the mean right (Courbariaux et al., NeurIPS 2015); the coin is a hash of the value's bits, so that a run can be
    repeated and a batch equals a loop.

    Laws: `odd` fails at 0 (0 becomes 1, -0 too); `monotone` fails where `stochastic`, `nearest` there and for 0 or 1
    (0.1 becomes 1).

    >>> Binary().quantize(torch.tensor([0.3, -0.2, 0.0]))
    tensor([ 1., -1.,  1.])
    >>> Binary(scaled=True).quantize(torch.tensor([0.3, -0.1]))
    tensor([ 0.2000, -0.2000])
    """

    context_fields: ClassVar[frozenset[str]] = frozenset({"channel_axis", "channel_groups", "scale"})
    arithmetic: ClassVar[Arithmetic] = "integer"

    width: int = 1
    bipolar: bool = True
    stochastic: bool = False
    scaled: bool = False
    granularity: str = "tensor"
    channel_axis: int = 0
    channel_groups: int = 1
    scale: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        require_int("width", self.width, 1, 1)
        for name in ("bipolar", "stochastic", "scaled"):
            require_bool(name, getattr(self, name))
        require_choice("granularity", self.granularity, GRANULARITIES)
        if not self.scaled:
            object.__setattr__(self, "granularity", "tensor")
            object.__setattr__(self, "scale", (1.0,))

    def __str__(self) -> str:
        notes = [] if self.bipolar else ["0 or 1"]
        notes += [name for name in ("stochastic", "scaled") if getattr(self, name)]
        return " ".join(["binary", *notes])

    @property
    def laws(self) -> frozenset[Law]:
        kept: set[Law] = {"idempotent"}
        if not self.stochastic:
            kept |= {"monotone", "nearest"} if self.bipolar else {"monotone"}
        return frozenset(kept)

    def calibrated(self, x: Tensor) -> Self:
        """The format with the mean magnitudes of `x`; 1 where there is nothing but zeros."""
        if not self.is_measured:
            return self
        rows = by_channel(x, self.granularity, self.channel_axis, self.channel_groups)
        means = [finite(row).abs().mean().nan_to_num(0.0).float() for row in rows]
        return replace(self, scale=tuple(float(mean) or 1.0 for mean in means))

    def bits(self, shape: Sequence[int]) -> int:
        return count(shape) + self.shared_bits(shape)

    def shared_bits(self, shape: Sequence[int]) -> int:
        if not self.scaled:
            return 0
        return FLOAT_BITS * channels(shape, self.granularity, self.channel_axis, self.channel_groups)

    def values(self, x: Tensor) -> Tensor | None:
        if self.scale is None or len(self.scale) > 1:
            return None
        return torch.tensor([-self.scale[0] if self.bipolar else 0.0, self.scale[0]], dtype=torch.float64)

    def _round(self, x: Tensor) -> Tensor:
        assert self.scale is not None
        return self._round_with(x, spread(self.scale, x, self.channel_axis, self.channel_groups))

    def one_by_one(self, x: Tensor) -> OneByOne:
        chosen = self.calibrated(x.detach())
        assert chosen.scale is not None
        scale = spread(chosen.scale, x, chosen.channel_axis, chosen.channel_groups)
        return OneByOne(chosen._round_with, (torch.as_tensor(scale, dtype=x.dtype, device=x.device),))

    def _round_with(self, x: Tensor, scale: Tensor | float) -> Tensor:
        signs = torch.where(self._is_upper(x, scale), 1.0, -1.0 if self.bipolar else 0.0).to(x.dtype)
        return torch.where(x.isnan(), x, signs.mul_(scale))

    def _is_upper(self, x: Tensor, scale: Tensor | float) -> Tensor:
        if self.stochastic:
            share: Tensor = x / scale
            return _coin(x) < ((share + 1) / 2 if self.bipolar else share)
        return x >= 0 if self.bipolar else x > 0


def _coin(x: Tensor) -> Tensor:
    """A number in [0, 1) from the bits of each value (multiplicative hashing)."""
    bits = (x.float() + 0.0).view(torch.int32).long()  # -0 becomes +0
    mixed = (bits * HASH) & (HASH_RANGE - 1)
    mixed = ((mixed ^ (mixed >> 15)) * HASH) & (HASH_RANGE - 1)
    return (mixed ^ (mixed >> 13)).to(x.dtype) / HASH_RANGE
