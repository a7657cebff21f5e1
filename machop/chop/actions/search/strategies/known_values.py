"""The costs of points that strategies know without measuring: they follow from the formats alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from chop.actions.search.search_space.codes import Codes
from chop.record.goals import Constraint, Goals, sign
from chop.record.trial import Objective
from chop.scoring.metric import Direction

Array = np.ndarray[Any, Any]


class Table(Protocol):
    """Metrics of the points of a product space that need no measurement."""

    axes: int

    def scores(self, codes: Codes) -> Mapping[str, Array]:
        """The metrics of points `(points, axes)`."""


class KnownValues:
    """The part of a search's values that cost tables determine (objectives or sum, then violations); less is better.

    `is_learned` says for each value whether there is more to it than that part: what a measured metric adds. For a
    front that part is nothing or all of a value; of a sum it may be some.
    """

    def __init__(self, goals: Goals, tables: Sequence[Table]) -> None:
        self.goals = goals
        self._tables = tables
        zero = np.zeros((1, tables[0].axes)) if tables else np.zeros((1, 0))
        self._given = set(self._metrics(zero.astype(np.int64)))
        self.is_learned = tuple(bool(missing) for missing in self._missing())

    @classmethod
    def nothing(cls, directions: Sequence[Direction], constraints: int) -> KnownValues:
        """For a search without known values: only directions and the number of constraints."""
        objectives = tuple(Objective(f"value {number}", 1.0, way) for number, way in enumerate(directions))
        return cls(
            Goals(objectives, tuple(Constraint(f"constraint {number}", "max", 0.0) for number in range(constraints))),
            (),
        )

    @property
    def objectives(self) -> int:
        """The number of objectives among the values; violations follow them."""
        return len(self.goals.directions)

    @property
    def constraints(self) -> int:
        """The number of violations of constraints among the values."""
        return len(self.goals.constraints)

    def costs(self, codes: Codes) -> Array:
        """The known part of each value, `(points, values)`, less is better; `codes` are `(points, axes)`."""
        metrics = self._metrics(codes)
        nothing = np.zeros(len(codes))
        known = {o.metric: metrics.get(o.metric, nothing) for o in self.goals.objectives}
        costs = [sign(way) * value for way, value in zip(self.goals.directions, self.goals.values(known), strict=True)]
        costs += [
            constraint.violation(metrics[constraint.metric]) if constraint.metric in self._given else nothing
            for constraint in self.goals.constraints
        ]
        return np.stack([np.broadcast_to(column, len(codes)) for column in costs], 1)

    def turned(self, values: Sequence[float]) -> Array:
        """The values that a strategy is told of a point, turned so that less is better (violations are already)."""
        ways = [sign(way) for way in self.goals.directions] + [1] * self.constraints
        return np.array(values, dtype=np.float64) * ways

    def _metrics(self, codes: Codes) -> dict[str, Array]:
        found: dict[str, Array] = {}
        for table in self._tables:
            found |= table.scores(codes)
        return found

    def _missing(self) -> list[set[str]]:
        """For each value the metrics that must be measured."""
        objectives = [{o.metric} for o in self.goals.objectives]
        values = [set().union(*objectives)] if self.goals.sum_direction else objectives
        return [
            names - self._given for names in [*values, *({constraint.metric} for constraint in self.goals.constraints)]
        ]
