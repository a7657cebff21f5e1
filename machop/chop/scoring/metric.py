"""Defines a metric: its name, unit, direction and range."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import inf
from typing import TYPE_CHECKING, Any, Literal, get_args

if TYPE_CHECKING:
    from torch import Tensor

Direction = Literal["maximize", "minimize"]
DIRECTIONS: tuple[Direction, ...] = get_args(Direction)
Loss = Callable[["Tensor", "Tensor"], "Tensor"]
"""A loss of outputs and targets: one number for each sample, or one for all."""
UserMetric = tuple[Callable[..., Any], str]
"""A metric that the data bring and its direction: a function of all outputs and targets, or a class that streams."""


@dataclass(frozen=True)
class Metric:
    """A metric: its name, its unit (empty: none), its direction, and its range."""

    name: str
    unit: str
    direction: Direction
    range: tuple[float, float] = (-inf, inf)


LOSS = Metric("loss", "", "minimize")
