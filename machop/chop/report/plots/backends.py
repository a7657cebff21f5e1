"""Chooses the library that draws a picture: plotly where it is installed, else matplotlib."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any, Literal, get_args

from chop.errors import ChopError
from chop.report.plots.pictures import Picture
from chop.tools.extras import install_command

Backend = Literal["plotly", "matplotlib"]
EXTRAS: dict[Backend, str] = {"plotly": "plotly", "matplotlib": "plots"}
"""The extra of this package that installs each library."""


def figure_of(picture: Picture, backend: Backend | None = None) -> Any:
    """The picture as a figure of plotly or of matplotlib; None means the first of them that is installed.

    Raises ChopError where it is not installed, and for any other backend.
    """
    if backend is not None and backend not in get_args(Backend):
        raise ChopError(f"backend: expected one of {', '.join(get_args(Backend))}, got {backend!r}")
    chosen = backend or next((own for own in EXTRAS if find_spec(own)), None)
    if chosen is None:
        raise ChopError(
            f"a picture needs plotly ({install_command('plotly')}) or matplotlib ({install_command('plots')})"
        )
    require_backend(chosen)
    if chosen == "plotly":
        from chop.report.plots import plotly_drawing

        return plotly_drawing.drawn(picture)
    from chop.report.plots import matplotlib_drawing

    return matplotlib_drawing.drawn(picture)


def require_backend(backend: Backend) -> None:
    """Raise ChopError where a library is not installed."""
    if find_spec(backend) is None:
        raise ChopError(f"pictures need the package {backend}: {install_command(EXTRAS[backend])}")
