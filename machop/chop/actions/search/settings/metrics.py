"""Reads a metric's table under `[search.strategy.metrics]`: an objective, and constraints with their units."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite
from typing import Any, Literal

from chop.config.typed import Problem
from chop.config.units import parse_quantity
from chop.errors import SearchError
from chop.record.goals import Constraint
from chop.record.trial import Objective
from chop.scoring.metric import Direction, Metric
from chop.tools.logger import get_logger

logger = get_logger(__name__)

LimitKind = Literal["min", "max", "max_drop"]


@dataclass(frozen=True)
class ConstraintSetting:
    """A constraint as the file states it; `max_drop` is relative to the FP32 baseline.

    `bound` is in `unit`; `text` is what the file says where it names a unit.
    """

    metric: str
    kind: LimitKind
    bound: float
    better: Direction
    unit: str = ""
    text: str = ""

    def resolved(self, in_float: Mapping[str, float]) -> Constraint:
        """The constraint, given the metrics of the FP32 baseline."""
        if self.kind != "max_drop":
            return Constraint(self.metric, self.kind, self.bound, self.unit, self.text)
        if self.metric not in in_float:
            raise SearchError(
                f"max_drop of '{self.metric}' is relative to the FP32 baseline, which has no {self.metric}; use max"
            )
        reference = in_float[self.metric]
        origin = f"max_drop {self.text or f'{self.bound:g}'} from FP32 {reference:.4g}"
        if self.better == "maximize":
            return Constraint(self.metric, "min", reference - self.bound, self.unit, origin, reference)
        return Constraint(self.metric, "max", reference + self.bound, self.unit, origin, reference)

    def fingerprint(self) -> dict[str, Any]:
        """The meaning of the constraint, however it is written."""
        return {"metric": self.metric, "kind": self.kind, "bound": self.bound, "better": self.better}


@dataclass(frozen=True)
class MetricTable:
    """The keys of a metric's table; bounds are numbers, or text with a unit."""

    scale: float | None = None
    direction: Direction | None = None
    min: float | str | None = None
    max: float | str | None = None
    max_drop: float | str | None = None


def constraints_of(metric: Metric, table: MetricTable, problems: list[Problem]) -> list[ConstraintSetting]:
    """The constraints of a metric's table; adds their problems to `problems`."""
    constraints: list[ConstraintSetting] = []
    kinds: tuple[LimitKind, ...] = ("min", "max", "max_drop")
    for kind in kinds:
        given = getattr(table, kind)
        try:
            if given is not None:
                bound = parse_quantity(given, metric.unit) if isinstance(given, str) else float(given)
                text = given if isinstance(given, str) else ""
                _require_possible(metric, kind, bound)
                constraints.append(ConstraintSetting(metric.name, kind, bound, metric.direction, metric.unit, text))
        except ValueError as error:
            problems.append(Problem((kind,), str(error)))
    if table.min is not None and table.max is not None and not problems and constraints[0].bound > constraints[1].bound:
        problems.append(Problem(("min",), f"must not be above max, but {table.min} > {table.max}"))
    return constraints


def _require_possible(metric: Metric, kind: LimitKind, bound: float) -> None:
    """Raise ValueError for a constraint that is always satisfied, or never."""
    low, high = metric.range
    if not isfinite(bound):
        raise ValueError(f"expected a finite number, got {bound}")
    if kind == "max_drop" and bound < 0:
        raise ValueError(f"must be 0 or more, got {bound:g}: it is how much worse than the FP32 baseline")
    between = f"{metric.name} lies between {low:g} and {high:g}"
    if high == 1 and 1 < bound <= 100:
        between += f' (in per cent: "{bound:g} %")'
    if (kind == "min" and bound > high) or (kind == "max" and bound < low):
        raise ValueError(f"no configuration satisfies {bound:g}: {between}")
    if (
        (kind == "min" and bound < low)
        or (kind == "max" and bound > high)
        or (kind == "max_drop" and bound > high - low)
    ):
        raise ValueError(f"every configuration satisfies {bound:g}: {between}")


def objective_of(
    metric: Metric, table: MetricTable, sum_direction: Direction | None, problems: list[Problem]
) -> list[Objective]:
    """The objective of a metric's table in a list; an empty list for a table of constraints alone, or with a problem.

    `sum_direction` is that of the sum of the scaled metrics where that is optimised, else None. Scale and direction
    together must reward the better value of the metric; in a sum a line says where they do not.
    """
    is_limit_alone = table.scale is None and table.direction is None
    if is_limit_alone and any(bound is not None for bound in (table.min, table.max, table.max_drop)):
        return []
    scale = 1.0 if table.scale is None else table.scale
    if scale == 0 or not isfinite(scale):
        problems.append(Problem(("scale",), f"must be a finite number other than 0, got {scale:g}"))
        return []
    objective = Objective(metric.name, scale, table.direction or metric.direction)
    rewarded = sum_direction or objective.direction
    if (scale > 0) != (rewarded == metric.direction):
        better = f"better is to {metric.direction} it"
        if sum_direction is None:
            key, cure = ("scale", "turn its sign") if scale < 0 else ("direction", "remove it")
            message = f"{metric.name}: {better}, but with scale {scale:g} to {rewarded} it rewards the opposite; {cure}"
            problems.append(Problem((key,), message))
            return []
        logger.warning(
            "metric %s: %s, but with scale %g a sum to %s rewards the opposite; turn the sign",
            metric.name,
            better,
            scale,
            sum_direction,
        )
    return [objective]
