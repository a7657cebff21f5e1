"""Bias correction: adds a constant per channel that restores the mean changed by rounding."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Self

from torch import Tensor

from chop.formats.base import FLOAT_BITS, Format, count
from chop.formats.layout import Layout


@dataclass(frozen=True)
class OutputShift(Format):
    """Adds `shift`, one number per channel of a layer's result, and then rounds to the format `then`, if there is one.

    The shift is the mean of the float layer's results less that of the quantised layer's, on the calibration rows
    (Nagel et al., ICCV 2019, section 4.2, empirical). It is part of the bias of a circuit and costs no storage of its
    own. `last` says that channels are the last dimension (linear layers), else they are the second.
    """

    context_fields: ClassVar[frozenset[str]] = frozenset({"last"})

    then: Format | None = None
    last: bool = False
    shift: tuple[float, ...] | None = None

    def __str__(self) -> str:
        return "bias corrected" if self.then is None else f"bias corrected, {self.then}"

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
        return self.shift is None or (self.then is not None and self.then.is_measured)

    def bits(self, shape: Sequence[int]) -> int:
        return self.then.bits(shape) if self.then else FLOAT_BITS * count(shape)

    def _round(self, x: Tensor) -> Tensor:
        assert self.shift is not None
        moved = x if self.last else x.movedim(1, -1)
        shifted = moved + x.new_tensor(self.shift)
        result = shifted if self.last else shifted.movedim(-1, 1)
        return self.then.quantize(result) if self.then else result
