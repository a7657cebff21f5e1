"""Ternary numbers: -1, 0 and 1, perhaps scaled."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Self

import torch
from torch import Tensor

from chop.errors import FormatError
from chop.formats.base import FLOAT_BITS, FORMATS, Arithmetic, Format, Law, count, require_bool, require_int
from chop.formats.measured import finite, quantile_of

USUAL_FACTOR = 0.75
RULES = ("mean", "median", "max")


@FORMATS.register("ternary")
@dataclass(frozen=True, kw_only=True)
class Ternary(Format):
    """0 where |x| is within a threshold, else the sign; `scaling_factor` gives it the mean magnitude above (32 bits).

    The threshold is 0.75 times the mean of |x|, or else `mean`, `median` or `max` (one of them, a number) times that
    statistic of |x|. Li et al., arXiv:1605.04711. Laws: `nearest` fails (the threshold need not be half the scale);
    `idempotent` fails without a scale, where the threshold may lie above 1.

    >>> Ternary().quantize(torch.tensor([0.3, -0.2, 0.05]))
    tensor([ 1., -1.,  0.])
    >>> Ternary(scaling_factor=True, max=0.5).quantize(torch.tensor([0.4, -0.3, 0.1]))
    tensor([ 0.3500, -0.3500,  0.0000])
    """

    context_fields: ClassVar[frozenset[str]] = frozenset({"threshold", "scale"})
    arithmetic: ClassVar[Arithmetic] = "integer"

    width: int = 2
    scaling_factor: bool = False
    mean: float | None = None
    median: float | None = None
    max: float | None = None
    threshold: float | None = None
    scale: float = 1.0

    def __post_init__(self) -> None:
        require_int("width", self.width, 2, 2)
        require_bool("scaling_factor", self.scaling_factor)
        given = [name for name in RULES if getattr(self, name) is not None]
        if len(given) > 1:
            raise FormatError(f"{' and '.join(given)} are both given: one rule sets the threshold; remove the others")
        for name in given:
            factor = getattr(self, name)
            if isinstance(factor, bool) or not isinstance(factor, (int, float)) or factor < 0:
                raise FormatError(f"{name} must be a number that is not negative (a factor of it), got {factor!r}")

    def __str__(self) -> str:
        rule = next((f" {getattr(self, name)} of the {name}" for name in RULES if getattr(self, name) is not None), "")
        return f"ternary{' scaled' if self.scaling_factor else ''}{rule}"

    @property
    def laws(self) -> frozenset[Law]:
        kept: set[Law] = {"monotone", "odd"}
        return frozenset(kept | {"idempotent"} if self.scaling_factor else kept)

    @property
    def is_elementwise(self) -> bool:
        return self.threshold is not None

    @property
    def is_measured(self) -> bool:
        return self.threshold is None

    def calibrated(self, x: Tensor) -> Self:
        """The format with the threshold, and the scale, that `x` gives."""
        if not self.is_measured:
            return self
        magnitudes = finite(x.detach().double()).abs().flatten()
        threshold = self._threshold(magnitudes) if len(magnitudes) else 0.0
        above = magnitudes[magnitudes > threshold]
        scale = float(above.mean().float()) if self.scaling_factor and len(above) else 1.0
        return replace(self, threshold=threshold, scale=scale)

    def _threshold(self, magnitudes: Tensor) -> float:
        if self.max is not None:
            return self.max * float(magnitudes.max())
        if self.median is not None:
            return self.median * float(quantile_of(magnitudes.unsqueeze(0), 0.5))
        return (USUAL_FACTOR if self.mean is None else self.mean) * float(magnitudes.mean())

    def bits(self, shape: Sequence[int]) -> int:
        return self.width * count(shape) + self.shared_bits(shape)

    def shared_bits(self, shape: Sequence[int]) -> int:
        return FLOAT_BITS if self.scaling_factor else 0

    def values(self, x: Tensor) -> Tensor | None:
        return torch.tensor([-self.scale, 0.0, self.scale], dtype=torch.float64)

    def _round(self, x: Tensor) -> Tensor:
        assert self.threshold is not None
        return torch.where(x.isnan(), x, x.sign().mul_(x.abs() > self.threshold).mul_(self.scale))
