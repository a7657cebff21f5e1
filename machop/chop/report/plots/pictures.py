"""The kinds of pictures: their numbers and texts, which plotly and matplotlib draw alike."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

Numbers = Sequence[float]
Role = Literal["cloud", "violating", "exact", "front", "other", "baseline"]


@dataclass(frozen=True)
class Points:
    """Points of a scatter picture. `texts` are shown on hover, `labels` beside the points; a `line` joins them.

    `low` and `high` are the ends of a bar up and down, where there is one.
    """

    name: str
    role: Role
    x: Numbers
    y: Numbers
    texts: Sequence[str] = ()
    labels: Sequence[str] = ()
    line: bool = False
    low: Numbers = ()
    high: Numbers = ()


@dataclass(frozen=True)
class Bound:
    """A value of an axis that is drawn as a line: a constraint, or a baseline that lies far to the side."""

    name: str
    axis: Literal["x", "y"]
    value: float
    role: Literal["constraint", "baseline"] = "constraint"


@dataclass(frozen=True)
class Scatter:
    """Points by two metrics."""

    x_title: str
    y_title: str
    points: Sequence[Points]
    bounds: Sequence[Bound] = ()


@dataclass(frozen=True)
class Steps:
    """Values that change in steps, in a panel for each name."""

    x_title: str
    x: Numbers
    panels: Sequence[tuple[str, Numbers]]


@dataclass(frozen=True)
class Axis:
    """An axis of parallel coordinates; `ticks` name its whole values from 0, where these are choices."""

    title: str
    values: Numbers
    ticks: Sequence[str] = ()


@dataclass(frozen=True)
class Parallel:
    """Networks as lines across an axis for each choice and each metric, coloured by the axis `colour`."""

    axes: Sequence[Axis]
    colour: int


@dataclass(frozen=True)
class HeatMap:
    """A table of numbers as colours; NaN is an empty cell. `texts` stand in the cells, `hovers` are shown beside."""

    x_title: str
    columns: Sequence[str]
    rows: Sequence[str]
    values: Sequence[Numbers]
    texts: Sequence[Sequence[str]]
    scale: Literal["bits", "correlation"]
    hovers: Sequence[Sequence[str]] = field(default=())


@dataclass(frozen=True)
class Bars:
    """Shares of 1 as horizontal bars, in a panel for each title; the largest is first."""

    x_title: str
    panels: Sequence[tuple[str, Sequence[tuple[str, float]]]]


Picture = Scatter | Steps | Parallel | HeatMap | Bars
