"""Saves the picture of a benchmark for light and dark pages; the style of those that are drawn for a phone."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "scripts"))

from pictures.dark import add_dark_colours
from pictures.style import BLUE, MUTED, ORANGE, new_figure, save

__all__ = ["BLUE", "MUTED", "ORANGE", "new_figure", "save", "save_picture"]


def save_picture(figure: Any, path: Path) -> None:
    """Write a figure of matplotlib as SVG, always the same for the same figure."""
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Date": None})
    add_dark_colours(path)
