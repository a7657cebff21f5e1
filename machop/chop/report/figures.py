"""Draws a search for a paper: the front, its history, the bits of each layer along the front (the extra `plots`)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from chop.errors import SearchError
from chop.record.folder import SearchFolder
from chop.record.goals import Goals
from chop.report import compare_plots
from chop.report.html.pages import comparison_in
from chop.report.html.search_page import data_of_what_is_sound
from chop.report.plots.backends import require_backend
from chop.report.plots.curves import curves
from chop.report.plots.matplotlib_settings import FOR_COLUMNS, rendered
from chop.report.plots.pictures import Picture
from chop.report.plots.search_pictures import (
    front_layers_picture,
    front_picture,
    history_picture,
    hypervolume_picture,
)
from chop.tools.files import write_whole

KINDS = ("pdf", "svg", "png")
SIZES = {"single": (3.35, 2.5), "double": (7.0, 3.6)}
"""Inches of a figure in one column, and across both, of a paper in two columns."""


@dataclass(frozen=True)
class Against:
    """A picture of curves: the first objective against `x`, a curve for each value of `by`."""

    x: str
    by: str | None = None


def write_figures(folder: Path, target: Path, against: Against | None = None) -> list[Path]:
    """Write the figures of the search in `folder` into the folder `target`, as PDF, SVG and PNG, in two sizes.

    With `against`, curves as well, in a size that suits them. Of a comparison, its pictures in these sizes.

    For a search that has not ended, or is damaged, they show what is sound, as its page does, without curves.

    Raises ChopError without matplotlib, and SearchError where nothing sound is left.
    """
    require_backend("matplotlib")
    from chop.report.plots.matplotlib_drawing import drawn

    if not SearchFolder(folder).holds_search:
        summary = comparison_in(folder).summary
        return [
            write_whole(target / f"{name}_{size}.{kind}", rendered(own, kind, settings=FOR_COLUMNS))
            for size, (width, _) in SIZES.items()
            for name, own in compare_plots.figures(summary, width, FOR_COLUMNS)
            for kind in KINDS
        ]
    written = []
    if against is not None:
        figure = drawn(curves({"": [SearchFolder(folder)]}, against.x, None, against.by))
        written += [write_whole(target / f"curves.{kind}", rendered(figure, kind)) for kind in KINDS]
    for name, picture in _pictures(SearchFolder(folder)):
        for size, inches in SIZES.items():
            figure = drawn(picture, inches)
            written += [write_whole(target / f"{name}_{size}.{kind}", rendered(figure, kind)) for kind in KINDS]
    return written


def _pictures(files: SearchFolder) -> Iterator[tuple[str, Picture]]:
    """The pictures that the records of a search have the figures for."""
    data, _ = data_of_what_is_sound(files)
    goals = Goals.from_json(files.header.values["goals"]) if data["running"] else files.summary.goals
    past = hypervolume_picture if "hypervolume" in data["history"] else history_picture
    makers: dict[str, Callable[[], Picture]] = {
        "front": partial(front_picture, data, goals),
        "history": partial(past, data),
        "formats": partial(front_layers_picture, data),
    }
    for name, made in makers.items():
        with suppress(SearchError):
            yield name, made()
