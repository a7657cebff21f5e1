"""The colours of pictures, which readers who are colour-blind can tell apart (Okabe and Ito, 2008)."""

from __future__ import annotations

from math import isnan, log2

CLOUD, FRONT, EXACT, BASELINE, BOUND = "#b5bcc4", "#0072B2", "#009E73", "#D55E00", "#B3005E"

COLOURS = {
    "cloud": CLOUD,
    "violating": CLOUD,
    "exact": EXACT,
    "front": FRONT,
    "other": FRONT,
    "baseline": BASELINE,
    "constraint": BOUND,
}
"""By what points and lines stand for (`Points.role`, `Bound.role`)."""

CURVES = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
"""Of curves, in their order."""

OTHERS = "#cfcfcf"
"""Of the curves behind the one that a panel is about."""

BITS_SCALE, CORRELATION_SCALE = "viridis", "RdBu"
BIT_TICKS = (1, 2, 4, 8, 16, 32)


def octaves(bits: float) -> float:
    """Where a number of bits lies on the scale of colours, from 0 (1 bit) to 5 (32 bits).

    >>> octaves(8), octaves(0)
    (3.0, 0.0)
    """
    return bits if isnan(bits) else log2(max(bits, 1.0))


def is_dark(bits: float) -> bool:
    """Whether the colour of a number of bits is so dark that a text on it must be light."""
    return bits < 8
