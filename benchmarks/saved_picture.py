"""The style of benchmark pictures: as in the documentation, narrow enough for a phone."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "scripts"))

from pictures.style import BLUE, GREEN, INK, MUTED, ORANGE, PURPLE, SKY, legend_below, new_figure, save, whole_ticks

__all__ = [
    "BLUE",
    "GREEN",
    "INK",
    "MUTED",
    "ORANGE",
    "PURPLE",
    "SKY",
    "legend_below",
    "new_figure",
    "save",
    "whole_ticks",
]
