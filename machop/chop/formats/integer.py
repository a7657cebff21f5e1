"""Fixed point: integers of a given width, scaled by a power of two."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, ClassVar, Self

import numpy as np
import torch
from torch import Tensor

from chop.errors import FormatError
from chop.formats.base import (
    FORMATS,
    Arithmetic,
    Format,
    Law,
    OneByOne,
    count,
    format_name,
    require_choice,
    require_int,
    require_share,
)
from chop.formats.grid import Grid
from chop.formats.layout import Layout
from chop.formats.learned import LEARNED, LEARNED_GRANULARITIES, code_bounds, learned_bits, on_elements, require_learned
from chop.formats.measured import (
    GRANULARITIES,
    RANGE_RULES,
    by_channel,
    finite,
    measured_range,
    on_channels,
    one_sample,
    spread,
)
from chop.formats.measured_tensor import MeasuredTensor
from chop.formats.rounding import exponent_below

MAX_WIDTH = 32
MAX_FRACTION = 64
AUTO = "auto"
EXTRA_FRACTIONS = 8
"""Fraction widths beyond that of the whole range which the rule `mse` tries: each halves the range."""


@dataclass(frozen=True)
class FixedPoint(Format):
    """clamp(round(x · 2^frac_width), low, high) / 2^frac_width, in two's complement or unsigned.

    `frac_width` is a number (absent: width // 2), one number a channel, or "auto": then `range_rule` takes it from a
    measured range, for the whole tensor or by channel (`granularity`). Or it is "learned": then a training has found a
    width of at most `width` and a fraction width for each value (`chop.training.learned_widths`), which the format
    holds as tensors that broadcast to a parameter, or to a sample of an activation. A width of 0 is an exact zero.
    """

    context_fields: ClassVar[frozenset[str]] = frozenset(
        {"is_signed", "channel_axis", "channel_groups", "element_width"}
    )
    arithmetic: ClassVar[Arithmetic] = "integer"
    rounds_down: ClassVar[bool] = False

    width: int
    frac_width: int | tuple[int, ...] | str | MeasuredTensor | None = None
    is_signed: bool = True
    range_rule: str = "min_max"
    quantile: float = 0.999
    granularity: str = "tensor"
    channel_axis: int = 0
    channel_groups: int = 1
    element_width: MeasuredTensor | None = None

    def __post_init__(self) -> None:
        require_int("width", self.width, 1, MAX_WIDTH)
        if self.frac_width is None:
            object.__setattr__(self, "frac_width", self.width // 2)
        require_choice("range_rule", self.range_rule, RANGE_RULES)
        is_learned = self.frac_width == LEARNED or self.is_learned
        require_choice("granularity", self.granularity, LEARNED_GRANULARITIES if is_learned else GRANULARITIES)
        require_share("quantile", self.quantile)
        self._require_fraction()
        self._forget_what_has_no_effect()

    def _require_fraction(self) -> None:
        if self.frac_width in (AUTO, LEARNED):
            return
        if isinstance(self.frac_width, str):
            raise FormatError(f'frac_width must be a whole number, "NA", "auto" or "learned", got {self.frac_width!r}')
        if isinstance(self.frac_width, MeasuredTensor):
            require_learned(self.frac_width, self.element_width, self.width, MAX_FRACTION)
            return
        for fraction in self.fractions:
            require_int("frac_width", fraction, -MAX_FRACTION, MAX_FRACTION)

    def _forget_what_has_no_effect(self) -> None:
        """Formats that round alike are equal: a rule that is not used is set back to its default."""
        if self.frac_width != AUTO:
            object.__setattr__(self, "range_rule", "min_max")
        if not self.is_measured:
            object.__setattr__(self, "granularity", "tensor")
        if not self.is_learned:
            object.__setattr__(self, "element_width", None)
        if self.range_rule != "quantile":
            object.__setattr__(self, "quantile", 0.999)
        if not isinstance(self.frac_width, tuple) and self.granularity == "tensor":
            object.__setattr__(self, "channel_axis", 0)
            object.__setattr__(self, "channel_groups", 1)

    def __str__(self) -> str:
        unsigned = "" if self.is_signed else " unsigned"
        return f"{format_name(type(self))} {self.width}b/{self._fraction_text()}{unsigned}"

    def _fraction_text(self) -> str:
        if self.frac_width == AUTO:
            return f"auto ({self.range_rule}{', by channel' if self.granularity == 'channel' else ''})"
        if self.frac_width == LEARNED:
            return f"learned (by {self.granularity})"
        if self.element_width is not None:
            return f"learned ({learned_bits(self.element_width, self.element_width.values.shape):g} bits in all)"
        low, high = min(self.fractions), max(self.fractions)
        return f"{low}f" if low == high else f"{low}f…{high}f"

    @property
    def laws(self) -> frozenset[Law]:
        return frozenset({"idempotent", "monotone"})

    @property
    def fractions(self) -> tuple[int, ...]:
        """The fraction width of each channel, or the one of the whole tensor; of each value where they are learned."""
        value: Any = self.frac_width
        if isinstance(value, MeasuredTensor):
            return tuple(value.values.flatten().tolist())
        return value if isinstance(value, tuple) else (value,)

    @property
    def is_measured(self) -> bool:
        return self.frac_width in (AUTO, LEARNED)

    @property
    def is_learned(self) -> bool:
        """Whether the format holds widths that a training has found."""
        return isinstance(self.frac_width, MeasuredTensor)

    @property
    def is_elementwise(self) -> bool:
        return not self.is_measured and len(self.fractions) == 1

    @property
    def code_range(self) -> tuple[int, int]:
        """The least and the greatest integer code of a value of the full width."""
        if self.is_signed:
            return -(2 ** (self.width - 1)), 2 ** (self.width - 1) - 1
        return 0, 2**self.width - 1

    def bits(self, shape: Sequence[int]) -> int:
        return count(shape) * self.width if self.element_width is None else learned_bits(self.element_width, shape)

    def values(self, x: Tensor) -> Tensor | None:
        if self.width > 16 or self.is_learned or len(self.fractions) > 1:
            return None
        low, high = self.code_range
        return torch.arange(low, high + 1, dtype=torch.float64) * 2.0 ** -self.fractions[0]

    def grid(self, x: Tensor) -> Grid | None:
        if self.is_measured:
            return None
        if isinstance(self.frac_width, MeasuredTensor) and self.element_width is not None:
            bounds = code_bounds(self.element_width.values.float(), self.is_signed)
            return Grid.of(self.frac_width.values, *bounds, rounds_down=self.rounds_down)
        fractions = one_sample(self.fractions, x, self.channel_axis, self.channel_groups)
        return Grid.of(fractions, *self.code_range, rounds_down=self.rounds_down)

    @property
    def needs_layout(self) -> bool:
        return self.granularity == "channel" or (isinstance(self.frac_width, tuple) and len(self.fractions) > 1)

    def placed(self, layout: Layout) -> Self:
        return on_channels(self, layout) if self.needs_layout else self

    def calibrated(self, x: Tensor) -> Self:
        """The format with the fraction width that `range_rule` takes from `x`: the bits that its range leaves over."""
        if not self.is_measured:
            return self
        if self.frac_width == LEARNED:
            raise FormatError(f"'{self}': no widths are learned yet; train them first (chop.training.learned_widths)")
        values = by_channel(x, self.granularity, self.channel_axis, self.channel_groups)
        low, high = measured_range(values, self.range_rule, self.quantile)
        reach = torch.maximum(high, -low) if self.is_signed else high
        above_point = exponent_below(reach) + 1
        fractions = (self.width - int(self.is_signed) - above_point).clamp(-MAX_FRACTION, MAX_FRACTION)
        chosen = [int(fraction) for fraction in fractions]
        if self.range_rule == "mse":
            chosen = [self._least_error(finite(row), fraction) for row, fraction in zip(values, chosen, strict=True)]
        return replace(self, frac_width=chosen[0] if len(chosen) == 1 else tuple(chosen))

    def _least_error(self, values: Tensor, fraction: int) -> int:
        """The fraction width, from `fraction` on, with the least squared error on `values`."""

        def error(candidate: int) -> float:
            rounded = replace(self, frac_width=candidate)._round(values)
            return float((rounded - values).square().sum())

        return min(range(fraction, min(fraction + EXTRA_FRACTIONS, MAX_FRACTION) + 1), key=error)

    def _round(self, x: Tensor) -> Tensor:
        scale = self._scale_for(x)
        return self._round_scaled_(x * scale, scale, *self._bounds_for(x))

    def one_by_one(self, x: Tensor) -> OneByOne:
        chosen = self.calibrated(x.detach())
        scale, bounds = chosen._scale_for(x), chosen._bounds_for(x)
        if not isinstance(scale, Tensor):
            return OneByOne(chosen._round_any)
        own = tuple(bound for bound in bounds if isinstance(bound, Tensor))
        shared = () if own else bounds
        return OneByOne(
            lambda values, scale, *own: chosen._round_scaled_(values * scale, scale, *shared, *own), (scale, *own)
        )

    def round_into_(self, out: Tensor, x: Tensor) -> None:
        if x.dtype not in (torch.float32, torch.float64):
            super().round_into_(out, x)
            return
        scale = self._scale_for(x)
        self._round_scaled_(torch.mul(x, scale, out=out), scale, *self._bounds_for(x))

    def _scale_for(self, x: Tensor) -> Tensor | float:
        if isinstance(self.frac_width, int):
            return float(2.0**self.frac_width)
        if isinstance(self.frac_width, MeasuredTensor):
            return on_elements(self.frac_width, x).exp2()
        return spread([2.0**fraction for fraction in self.fractions], x, self.channel_axis, self.channel_groups)

    def _bounds_for(self, x: Tensor) -> tuple[Tensor, Tensor] | tuple[float, float]:
        """The least and the greatest code, of each value where widths are learned."""
        if self.element_width is not None:
            return code_bounds(on_elements(self.element_width, x), self.is_signed)
        low, high = self.code_range
        return low, _round_down(high, x.dtype)

    def _round_scaled_(self, scaled: Tensor, scale: Tensor | float, low: Any, high: Any) -> Tensor:
        return self._to_integer_(scaled).clamp_(low, high).mul_(1.0 / scale)

    @staticmethod
    @abstractmethod
    def _to_integer_(scaled: Tensor) -> Tensor: ...


@cache
def _round_down(code: int, dtype: torch.dtype) -> float:
    """The greatest value of `dtype` that is no greater than `code` (float32 holds integers to 2^24 only)."""
    if dtype is torch.float64:
        return float(code)
    nearest = np.float32(code)
    return float(nearest if int(nearest) <= code else np.nextafter(nearest, np.float32(0)))


@FORMATS.register("integer", aliases=("fixed",))
@dataclass(frozen=True)
class Integer(FixedPoint):
    """Fixed point, rounded half to even. `frac_width` may be negative or above `width`; absent: width // 2.

    The law `odd` fails at the lower end, which reaches one step further: with 4.2, -9 becomes -2 and 9 becomes 1.75.

    >>> Integer(width=4, frac_width=2).quantize(torch.tensor([0.3, 0.375, 9.0, -9.0]))
    tensor([ 0.2500,  0.5000,  1.7500, -2.0000])
    >>> Integer(width=4, frac_width="auto").calibrated(torch.tensor([0.3, -0.9])).frac_width
    3
    """

    @property
    def laws(self) -> frozenset[Law]:
        return super().laws | {"nearest"}

    @staticmethod
    def _to_integer_(scaled: Tensor) -> Tensor:
        return scaled.round_()


@FORMATS.register("integer_floor")
@dataclass(frozen=True)
class IntegerFloor(FixedPoint):
    """Fixed point, rounded towards minus infinity: what a circuit does that drops the lower bits.

    The laws `nearest` and `odd` fail between two values: with 4.2, 0.49 becomes 0.25 and -0.01 becomes -0.25.

    >>> IntegerFloor(width=4, frac_width=2).quantize(torch.tensor([0.3, 0.375, -0.1]))
    tensor([ 0.2500,  0.2500, -0.2500])
    """

    rounds_down: ClassVar[bool] = True

    @staticmethod
    def _to_integer_(scaled: Tensor) -> Tensor:
        return scaled.floor_()
