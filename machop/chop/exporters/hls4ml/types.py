"""Fixed-point types of high-level synthesis (`ap_fixed`) from exact ranges and from formats."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from chop.circuits.values import MOST_BITS, Integers, Range, Values, bit_length, trailing_zeros
from chop.errors import CircuitError
from chop.formats.grid import Grid


@dataclass(frozen=True)
class FixedType:
    """`bits` bits, `integer_bits` of them before the point (a sign included), as `ap_fixed` and `ap_ufixed` count them.

    `rounding` and `saturation` are those of a value that is put into it; None: nothing is lost.
    """

    bits: int
    integer_bits: int
    is_signed: bool
    rounding: str | None = None
    saturation: str | None = None

    def __str__(self) -> str:
        """The type as hls4ml writes it.

        >>> str(FixedType(6, 3, True, "RND_CONV", "SAT")), str(FixedType(4, 4, False))
        ('fixed<6,3,RND_CONV,SAT>', 'ufixed<4,4>')
        """
        lossy = [] if self.rounding is None and self.saturation is None else [self.rounding or "TRN"]
        lossy += [self.saturation] if self.saturation else []
        words = ",".join([str(self.bits), str(self.integer_bits), *lossy])
        return f"{'' if self.is_signed else 'u'}fixed<{words}>"

    @property
    def frac(self) -> int:
        """Bits behind the point; negative where the step is above 1."""
        return self.bits - self.integer_bits

    @property
    def with_sign(self) -> FixedType:
        """The same type, or one with a sign that holds the same values."""
        return (
            self
            if self.is_signed
            else replace(self, bits=self.bits + 1, integer_bits=self.integer_bits + 1, is_signed=True)
        )


def type_of_range(own: Range) -> FixedType:
    """The least type that holds every element of a range.

    >>> str(type_of_range(Range(np.array([-3]), np.array([12]), 2, np.array([0]))))
    'fixed<5,3>'
    """
    return _least(np.stack([own.low, own.high]), own.frac, int(own.zeros[~_is_zero(own)].min(initial=MOST_BITS)))


def sum_type(average: FixedType, terms: int) -> FixedType:
    """The least type for sums of 2^n `terms` whose averages have the type `average`: hls4ml adds before it divides.

    >>> str(sum_type(FixedType(5, 2, False), 4))
    'ufixed<7,4>'
    """
    more = terms.bit_length() - 1
    return replace(average, bits=average.bits + more, integer_bits=average.integer_bits + more)


def wide_source(source: FixedType, sums: FixedType, factor: int) -> FixedType:
    """A type with a sign that holds the values of `source`, the sums of an average, the average, and a whole `factor`.

    >>> str(wide_source(FixedType(3, 2, False), FixedType(7, 4, False), 2))
    'fixed<8,5>'
    """
    kinds = source.with_sign, sums.with_sign
    integer_bits = max(factor.bit_length() + 1, *(own.integer_bits for own in kinds))
    return FixedType(integer_bits + max(own.frac for own in kinds), integer_bits, True)


def type_of_values(own: Values) -> FixedType:
    """The least type that holds constants."""
    codes = own.codes.reshape(-1)
    return _least(codes, own.frac, int(trailing_zeros(codes[codes != 0]).min(initial=MOST_BITS)))


def type_of_rounding(grid: Grid, source: Range | None, result: Range, is_relu: bool) -> FixedType:
    """The least type that rounds `source` (None: any float) as a format does, for results within `result`.

    It rounds only where bits are lost, and saturates only where a value may leave it. Raises CircuitError for a format
    with several steps or ranges, or with a range that no type has.
    """
    low, high, frac = (np.unique(own) for own in (grid.low, grid.high, grid.frac))
    if max(len(low), len(high), len(frac)) > 1:
        raise CircuitError(
            'its format differs from element to element; hls4ml needs data_in_granularity = "tensor", or with gradient '
            'activation_granularity = "tensor"; verilog and vhdl take it as it is'
        )
    step, least, most = int(frac[0]), max(int(low[0]), 0) if is_relu else int(low[0]), int(high[0])
    loses_bits = source is None or bool(((source.frac - source.zeros > step) & ~_is_zero(source)).any())
    rounding = None if not loses_bits else "TRN" if grid.rounds_down else "RND_CONV"
    if source is not None and not _leaves(source, step, int(low[0]), most, is_relu):
        return (
            replace(_with_step(type_of_range(result), step), rounding=rounding) if loses_bits else type_of_range(result)
        )
    if least == most == 0:
        raise CircuitError("its format holds nothing above 0, and what comes to it is never less; choose more bits")
    bits = int(bit_length(np.array([most]))[0]) + (least < 0)
    if most + 1 != 1 << bits - (least < 0) or (least < 0 and least not in (-most - 1, -most)):
        raise CircuitError(f"no type has the codes from {least} to {most}; choose a format without a zero point")
    saturation = "SAT_SYM" if least < 0 and least == -most else "SAT"
    return FixedType(bits, bits - step, least < 0, rounding or "TRN", saturation)


def _with_step(own: FixedType, step: int) -> FixedType:
    """A type that holds the multiples of 2^-step that `own` holds."""
    integer_bits = max(own.integer_bits, 1 - step)
    return replace(own, bits=integer_bits + step, integer_bits=integer_bits)


def _leaves(source: Range, step: int, low: int, high: int, is_relu: bool) -> bool:
    """Whether a value of a range may be rounded to more than a format holds."""
    scale = np.ldexp(1.0, step - source.frac)
    least, most = float(source.low.min()) * scale, float(source.high.max()) * scale
    return bool(np.rint(most) > high or (np.floor(least) < low and not is_relu))


def _least(codes: Integers, frac: int, zeros: int) -> FixedType:
    """The least type for codes in steps of 2^-frac, whose last `zeros` bits are 0."""
    low, high = int(codes.min(initial=0)), int(codes.max(initial=0))
    if low == high == 0:
        return FixedType(1, 1, False)
    reach = int(bit_length(np.array([max(-low - 1, high)]))[0])
    bits = max(reach + (low < 0) - zeros, 1)
    return FixedType(bits, bits - (frac - zeros), low < 0)


def _is_zero(own: Range) -> NDArray[np.bool_]:
    found: NDArray[np.bool_] = (own.low == 0) & (own.high == 0)
    return found
