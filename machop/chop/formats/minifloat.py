"""Floating point with few bits and without infinities: with an implicit leading one, or without."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from chop.errors import FormatError
from chop.formats.base import FORMATS, Format, Law, count, format_name, require_int
from chop.formats.rounding import HIGHEST_EXPONENT, fits_float32, mirrored, round_in_binades_

MAX_WIDTH = 32
MAX_EXPONENT_WIDTH = 8
LARGEST_BIAS = 160
LOWEST_STEP = -149
"""Exponent of float32's least number: steps below it cannot be simulated."""


@dataclass(frozen=True)
class _Minifloat(Format):
    """Sign, `exponent_width` bits of exponent (bias: `exponent_bias`, else 2^(E-1) - 1), the rest mantissa."""

    width: int
    exponent_width: int
    exponent_bias: int | None = None

    def __post_init__(self) -> None:
        require_int("width", self.width, 2, MAX_WIDTH)
        require_int("exponent_width", self.exponent_width, 1, min(MAX_EXPONENT_WIDTH, self.width - 1))
        if self.exponent_bias is None:
            object.__setattr__(self, "exponent_bias", 2 ** (self.exponent_width - 1) - 1)
        require_int("exponent_bias", self.exponent_bias, -LARGEST_BIAS, LARGEST_BIAS)
        if self.step_exponent < LOWEST_STEP or self.top_exponent - 2**self.exponent_width >= HIGHEST_EXPONENT:
            raise FormatError(f"exponent_bias = {self.exponent_bias}: such values cannot be simulated in float32")

    @property
    def is_elementwise(self) -> bool:
        return True

    @property
    def laws(self) -> frozenset[Law]:
        return frozenset({"idempotent", "monotone", "odd", "nearest"})

    def __str__(self) -> str:
        usual = 2 ** (self.exponent_width - 1) - 1
        bias = "" if self.bias == usual else f" bias {self.bias}"
        return f"{format_name(type(self))} {self.width}e{self.exponent_width}{bias}"

    @property
    def bias(self) -> int:
        """The exponent bias in force."""
        assert self.exponent_bias is not None
        return self.exponent_bias

    @property
    def mantissa_width(self) -> int:
        """Bits of the mantissa field."""
        return self.width - self.exponent_width - 1

    @property
    def top_exponent(self) -> int:
        """The exponent of the all-ones exponent field, which is a binade like the others."""
        return (1 << self.exponent_width) - 1 - self.bias

    @property
    @abstractmethod
    def step_exponent(self) -> int:
        """log2 of the distance between the smallest values."""

    @property
    @abstractmethod
    def fraction_bits(self) -> int:
        """Bits after the leading one in a full binade."""

    @property
    def largest(self) -> float:
        """The greatest value; what lies above it saturates."""
        return float(self.magnitudes()[-1])

    @abstractmethod
    def magnitudes(self) -> Tensor:
        """All values that are not negative, ascending, float64."""

    def bits(self, shape: Sequence[int]) -> int:
        return count(shape) * self.width

    def values(self, x: Tensor) -> Tensor | None:
        found = self.magnitudes()
        return mirrored(found)

    def _round(self, x: Tensor) -> Tensor:
        lowest = 2.0 ** (self.step_exponent + self.fraction_bits)
        is_exact = fits_float32(lowest, 2.0 ** min(self.top_exponent, HIGHEST_EXPONENT), self.fraction_bits)
        limit = self._largest_in_float32
        rounded = (x if is_exact else x.double()).clamp(-limit, limit)
        return round_in_binades_(rounded, lowest, self.fraction_bits).to(x.dtype)

    @property
    def _largest_in_float32(self) -> float:
        highest = min(self._highest_binade, HIGHEST_EXPONENT)
        return 2.0**highest * (2.0 - 2.0**-self.fraction_bits)

    @property
    @abstractmethod
    def _highest_binade(self) -> int:
        """Exponent of the binade that holds the greatest value."""


@FORMATS.register("minifloat_ieee")
@dataclass(frozen=True)
class MinifloatIEEE(_Minifloat):
    """Small floating point with an implicit leading one and subnormal numbers, saturating, without infinity and NaN.

    Rounds half to even, with a carry into the next binade. A negative number that rounds to zero becomes +0.

    >>> MinifloatIEEE(width=8, exponent_width=4).quantize(torch.tensor([1.99, 0.3, 1e9, 0.001]))
    tensor([2.0000e+00, 3.1250e-01, 4.8000e+02, 1.9531e-03])
    """

    @property
    def step_exponent(self) -> int:
        return 1 - self.bias - self.mantissa_width

    @property
    def fraction_bits(self) -> int:
        return self.mantissa_width

    @property
    def _highest_binade(self) -> int:
        return self.top_exponent

    def magnitudes(self) -> Tensor:
        mantissas = torch.arange(2**self.mantissa_width, dtype=torch.float64) / 2**self.mantissa_width
        codes = torch.arange(2**self.exponent_width, dtype=torch.float64).unsqueeze(1)
        normal = (1 + mantissas) * torch.exp2(codes - self.bias)
        return torch.where(codes == 0, mantissas * 2.0 ** (1 - self.bias), normal).flatten()


@FORMATS.register("minifloat_denorm")
@dataclass(frozen=True)
class MinifloatDenorm(_Minifloat):
    """Small floating point without an implicit one: ±2^e · k / 2^m with 0 <= k < 2^m, to the nearest such value.

    Many values have several codes: 1 is 2 · ½. Saturating, half to even; a negative number that rounds to zero
    becomes +0.

    >>> MinifloatDenorm(width=8, exponent_width=4).quantize(torch.tensor([1.0, 1.99, 0.3]))
    tensor([1.0000, 2.0000, 0.3125])
    """

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.mantissa_width < 1:
            raise FormatError(f"width must be at least exponent_width + 2 = {self.exponent_width + 2}: no mantissa")

    @property
    def step_exponent(self) -> int:
        return -self.bias - self.mantissa_width

    @property
    def fraction_bits(self) -> int:
        return self.mantissa_width - 1

    @property
    def _highest_binade(self) -> int:
        return self.top_exponent - 1

    def magnitudes(self) -> Tensor:
        codes = torch.arange(2**self.mantissa_width, dtype=torch.float64) / 2**self.mantissa_width
        exponents = torch.arange(2**self.exponent_width, dtype=torch.float64).unsqueeze(1) - self.bias
        return torch.unique(codes * torch.exp2(exponents))  # type: ignore[no-any-return]
