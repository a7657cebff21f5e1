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

    `low` and `high` are the ends of a bar up and down, where there is one; to the left and the right, if `is_across`.
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
    is_across: bool = False


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
    """Shares of 1 as horizontal bars, in a panel for each title; the largest is first. The last is what is left.

    `note` is a sentence on how the shares were found.
    """

    x_title: str
    panels: Sequence[tuple[str, Sequence[tuple[str, float]]]]
    note: str


@dataclass(frozen=True)
class Place:
    """All networks of a curve at one `x`: their median, the lowest and the highest, how many there are.

    `interval` are the bounds of the 95 % interval of the median, by the number of samples; None where it has none.
    """

    x: float
    low: float
    middle: float
    high: float
    networks: int
    interval: tuple[float, float] | None


@dataclass(frozen=True)
class Curve:
    """A named line; `tuned` are the networks after `[search.finish]`."""

    name: str
    tuned: bool
    places: Sequence[Place]


@dataclass(frozen=True)
class Curves:
    """Curves of one metric. `baseline` is the FP32 baseline's, None where the searches differ in it."""

    x: str
    y: str
    curves: Sequence[Curve]
    baseline: float | None
    title: str

    @property
    def names(self) -> list[str]:
        """The names of the curves, each once."""
        return list(dict.fromkeys(own.name for own in self.curves))

    @property
    def has_tuned(self) -> bool:
        """Whether there are networks that were tuned, beside which the others are called so."""
        return any(own.tuned for own in self.curves)

    def label(self, curve: Curve) -> str:
        """The name of a curve in a legend."""
        when = ("tuned" if curve.tuned else "before tuning") if self.has_tuned else ""
        return ", ".join(filter(None, [curve.name, when])) or "networks"


Picture = Scatter | Steps | Parallel | HeatMap | Bars | Curves
