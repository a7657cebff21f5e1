"""A picture of accuracy against LUTs."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from saved_picture import legend_below, new_figure, save, whole_ticks


@contextmanager
def drawing(path: Path, height: float, ticks: Sequence[int]) -> Iterator[Any]:
    """Axes to draw on, with LUTs on a logarithmic scale; the picture, `height` inches high, is written at the end."""
    figure, axes = new_figure(height)
    axes.set_xscale("log")
    yield axes
    whole_ticks(axes.xaxis, ticks)
    legend_below(figure, columns=1)
    axes.grid(linewidth=0.7)
    save(figure, path)
    print(f"\n{os.path.relpath(path)} is drawn", flush=True)
