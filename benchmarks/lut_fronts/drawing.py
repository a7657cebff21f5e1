"""A picture of accuracy against LUTs."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from saved_picture import save_picture


@contextmanager
def drawing(path: Path, ticks: Sequence[int], legend: Literal["upper left", "lower left"]) -> Iterator[Any]:
    """Axes to draw on, with LUTs on a logarithmic scale; the picture is written at the end, its legend in a corner."""
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "chop"
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(7, 4.2), layout="constrained")
    axes.set_xscale("log")
    yield axes
    axes.set_xticks(ticks, [f"{tick:,}" for tick in ticks])
    axes.set_xticks([], minor=True)
    axes.legend(fontsize=7.5, loc=legend)
    axes.grid(alpha=0.3)
    save_picture(figure, path)
    print(f"\n{os.path.relpath(path)} is drawn", flush=True)
