"""Effective bit operations (EBOPs): a measure of the logic of constant multiplications, by the bits that matter.

The definition of HGQ (Sun et al., arXiv:2405.00645) as HGQ2 counts it: each product of an activation with a constant
counts the bits of the activation times the bits of the constant from its highest to its lowest non-zero bit, sign
apart; a bias counts its bits; a sum of two activations 0.65 times the bits of the wider one, a difference all of them;
a maximum counts the bits of the values that it compares.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from chop.circuits.liveness import Mask, by_output, folded_bias, read_by
from chop.circuits.stages import Add, Affine, Maximum, Port, Round, Stage, with_padding
from chop.circuits.values import Integers, Range, effective_bits

SUM_FACTOR = 0.65
"""HGQ2's weight of a bit of a sum, beside that of a product of two bits."""


def stage_bits(stage: Stage, source: Stage | None, given: tuple[Range, ...], live: Mask) -> tuple[float, ...]:
    """The counts of a stage, exact ones and then nominal ones."""
    return (*bit_counts(stage, given, live), *nominal_counts(stage, source, given))


STAGE_BITS = 4
"""The numbers that `stage_bits` returns."""


def ebops_of(sums: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
    """EBOPs by exact ranges and by those of formats, from sums `(…, STAGE_BITS)`."""
    products, adders, nominal_products, nominal_adders = np.moveaxis(sums, -1, 0)
    return {
        "ebops": products + SUM_FACTOR * adders,
        "ebops_nominal": nominal_products + SUM_FACTOR * nominal_adders,
    }


class BitCounts(NamedTuple):
    """Bits of products and biases, and bits of sums: whole numbers, so that the order of adding plays no part.

    Differences and comparisons count with the products.
    """

    products: int = 0
    sums: int = 0


def bit_counts(stage: Stage, given: tuple[Range, ...], live: Mask) -> BitCounts:
    """The counts of a stage for inputs with these ranges, if the elements `live` `(*shape)` of its result are used."""
    if isinstance(stage, Affine):
        return BitCounts(products=_products(stage, given[0], given[0].bits, live))
    if isinstance(stage, Add):
        wider = np.maximum(*np.broadcast_arrays(given[0].bits, given[1].bits))
        varies = ~given[0].is_constant & ~given[1].is_constant
        bits = int(wider[np.broadcast_to(varies & live, stage.shape)].sum())
        return BitCounts(products=bits) if stage.subtracts else BitCounts(sums=bits)
    if isinstance(stage, Maximum):
        (compared,) = read_by(stage, given, live)
        return BitCounts(products=int(given[0].bits[compared].sum()))
    return BitCounts()


def nominal_counts(stage: Stage, source: Stage | None, given: tuple[Range, ...]) -> BitCounts:
    """The same by the widths of formats: whatever of their range is reached, and with everything that no path uses."""
    everything = np.ones(stage.shape, dtype=bool)
    if isinstance(stage, Affine) and isinstance(source, (Round, Port)):
        full = Port(source.name, (), source.shape, source.grid).range_of()
        return BitCounts(products=_products(stage, full, full.bits, everything))
    return bit_counts(stage, given, everything)


def _products(stage: Affine, x: Range, bits: Integers, live: Mask) -> int:
    used = by_output(stage, live)
    read = with_padding(bits.reshape(1, -1), 0)[0][stage.index]
    terms = used.astype(np.int64) @ stage.weight_bits
    varies = (read > 0).astype(np.int64) @ stage.is_weight.transpose(0, 2, 1) > 0
    biases = effective_bits(folded_bias(stage, x).codes)
    return int((terms * read).sum() + biases[used & varies].sum())
