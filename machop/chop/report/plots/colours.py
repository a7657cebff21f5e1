"""The colours of pictures, which readers who are colour-blind can tell apart (Okabe and Ito, 2008)."""

from __future__ import annotations

from collections.abc import Sequence
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
"""The colours of curves, in their order."""

OTHERS = "#cfcfcf"
"""The colour of the curves behind the one that a panel is about."""

BITS_SCALE, CORRELATION_SCALE = "viridis", "RdBu"
BIT_TICKS = (1, 2, 4, 8, 16, 32)

EQUAL_CONTRAST = 0.179
"""The relative luminance of a colour from which black and white contrast alike: 0.05 * sqrt(21) - 0.05."""


def octaves(bits: float) -> float:
    """Where a number of bits lies on the scale of colours, from 0 (1 bit) to 5 (32 bits).

    >>> octaves(8), octaves(0)
    (3.0, 0.0)
    """
    return bits if isnan(bits) else log2(max(bits, 1.0))


def ink_on(colour: Sequence[float]) -> str:
    """Black or white, whichever contrasts more with a colour; the ratio is 4.58 at the least (WCAG 2).

    `colour` is its red, green and blue in sRGB, each from 0 to 1.

    >>> ink_on((0.13, 0.57, 0.55)), ink_on((0.27, 0.0, 0.33))
    ('black', 'white')
    """
    red, green, blue = (own / 12.92 if own <= 0.04045 else ((own + 0.055) / 1.055) ** 2.4 for own in colour[:3])
    return "black" if 0.2126 * red + 0.7152 * green + 0.0722 * blue > EQUAL_CONTRAST else "white"
