"""Bias correction: adds a constant per channel that restores the mean changed by rounding."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Self

import torch
from torch import Tensor

from chop.formats.base import FLOAT_BITS, Format, count
from chop.formats.layout import Layout


@dataclass(frozen=True)
class OutputShift(Format):
    """Adds `shift`, one number per channel of a layer's result, and then rounds to the format `then`, if there is one.

    The shift is the mean of the float layer's results less that of the quantised layer's, on the calibration rows
    (Nagel et al., ICCV 2019, section 4.2, empirical). It is added in float32, behind a bias in its own format, and no
    cost counts it. `last` says that channels are the last dimension (linear layers), else they are the second.

    With `under_plan` the quantised layer reads what the layers before it make in the formats of the plan, as batch norm
    does that is measured under the plan. `wanted` are the float layer's means, and its variances where the weights have
    a scale for each channel that can take the factor `scale`.
    """

    context_fields: ClassVar[frozenset[str]] = frozenset({"last", "under_plan", "wanted", "scale"})

    then: Format | None = None
    last: bool = False
    shift: tuple[float, ...] | None = None
    under_plan: bool = False
    wanted: tuple[tuple[float, ...], tuple[float, ...]] | None = None
    scale: tuple[float, ...] | None = None

    def __str__(self) -> str:
        what = "bias corrected under the plan" if self.under_plan else "bias corrected"
        return what if self.then is None else f"{what}, {self.then}"

    @property
    def needs_activations(self) -> bool:
        """Whether something of it is still to be measured on activations of the float network."""
        return self.wanted is None if self.under_plan else self.shift is None

    @property
    def is_float(self) -> bool:
        return self.then is None or self.then.is_float

    @property
    def is_open(self) -> bool:
        return self.under_plan and self.shift is None

    def reopened(self) -> OutputShift:
        return replace(self, shift=None, scale=None) if self.under_plan else self

    def closed(self, statistics: Tensor) -> OutputShift:
        """The correction of a layer whose results have these `statistics` under the plan, `(2, channels)`."""
        scale, shift = self.correction(statistics)
        return replace(self, shift=tuple(shift.tolist()), scale=None if scale is None else tuple(scale.tolist()))

    def correction(self, statistics: Tensor) -> tuple[Tensor | None, Tensor]:
        """The factor (None: none) and the summand for results of these statistics, `(2, *, channels)`."""
        assert self.wanted is not None
        mean, variance = statistics.double()
        means, variances = (mean.new_tensor(own) for own in self.wanted)
        if not len(variances):
            return None, (means - mean).to(statistics.dtype)
        scale = torch.where(variance > 0, variances / variance, 1.0).sqrt()
        return scale.to(statistics.dtype), (means - mean * scale).to(statistics.dtype)

    @property
    def batchable(self) -> bool:
        return self.then is None or self.then.batchable

    @property
    def needs_layout(self) -> bool:
        return self.then is not None and self.then.needs_layout

    def placed(self, layout: Layout) -> Self:
        return replace(self, then=self.then.placed(layout)) if self.then else self

    @property
    def is_measured(self) -> bool:
        return self.needs_activations or (self.then is not None and self.then.is_measured)

    def bits(self, shape: Sequence[int]) -> int:
        return self.then.bits(shape) if self.then else FLOAT_BITS * count(shape)

    def _round(self, x: Tensor) -> Tensor:
        assert self.shift is not None
        moved = x if self.last else x.movedim(1, -1)
        moved = moved if self.scale is None else moved * x.new_tensor(self.scale)
        shifted = moved + x.new_tensor(self.shift)
        result = shifted if self.last else shifted.movedim(-1, 1)
        return self.then.quantize(result) if self.then else result
