"""Writes a figure as people read it."""

from __future__ import annotations


def figure_text(value: float) -> str:
    """Four significant digits; thousands apart, in place of a power of ten, up to ten million.

    >>> figure_text(0.70634), figure_text(12206.4), figure_text(1.5e9)
    ('0.7063', '12,206', '1.5e+09')
    """
    return f"{value:,.0f}" if 9999.5 <= abs(value) < 1e7 else f"{value:.4g}"
