"""The settings of matplotlib for all pictures of reports, and a figure as the bytes of a file."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_COMMON: Mapping[str, Any] = {
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "grid.color": "#e6e6e6",
    "legend.frameon": False,
    "pdf.fonttype": 42,
    "svg.hashsalt": "chop",
}
FOR_PAPERS: Any = {
    **_COMMON,
    "font.size": 8,
    "grid.linewidth": 0.6,
    "legend.fontsize": 7,
    "lines.linewidth": 1.2,
}
"""Settings for the pictures of a search, which fit in a column of a paper."""

FOR_COMPARISONS: Any = {
    **_COMMON,
    "font.size": 10,
    "axes.titlesize": 9,
    "axes.titlelocation": "left",
    "figure.labelsize": 10,
    "grid.linewidth": 0.7,
    "legend.fontsize": 9,
    "legend.title_fontsize": 9,
    "legend.handlelength": 3.0,
    "lines.linewidth": 1.7,
}
"""Settings for the pictures of a comparison, which are looked at on their own."""

FOR_COLUMNS: Any = {
    **FOR_COMPARISONS,
    "font.size": 7.5,
    "axes.titlesize": 7,
    "figure.labelsize": 7.5,
    "grid.linewidth": 0.5,
    "legend.fontsize": 7,
    "legend.title_fontsize": 7,
    "legend.handlelength": 2.0,
    "lines.linewidth": 1.2,
    "lines.markersize": 4,
}
"""Settings for the pictures of a comparison in a column of a paper."""


def rendered(figure: Figure, kind: str, dpi: int = 300, settings: Any = FOR_PAPERS) -> bytes:
    """A figure as the bytes of a file of a kind: pdf, svg or png. `settings` are those that it was drawn with."""
    import matplotlib

    buffer = io.BytesIO()
    metadata = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}.get(kind)
    with matplotlib.rc_context(settings):
        figure.savefig(buffer, format=kind, dpi=dpi, metadata=metadata)
    return buffer.getvalue()
