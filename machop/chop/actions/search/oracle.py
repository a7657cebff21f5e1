"""The truth about a space that was enumerated: its exact front, and how far points and searches are from it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from chop.actions.search.landscape import Landscape
from chop.errors import SearchError
from chop.ir.front import Front
from chop.ir.trial import Objective


@dataclass(frozen=True)
class Standing:
    """Where a point stands: how many points dominate it (0: it is on the front), and its regret by objective.

    The regret is how much better the best point is that is no worse in every other objective.
    """

    index: int
    metrics: dict[str, float]
    dominated_by: int
    regret: dict[str, float]


@dataclass(frozen=True)
class Gap:
    """How near the points of a search come to the exact front.

    `hypervolume` is relative to that of the exact front: objectives scaled to their range over the whole space, the
    reference at the worst of each.
    """

    points: int
    hypervolume: float
    found: int
    front: int
    regret: dict[str, float]

    def as_text(self) -> str:
        """One line."""
        regrets = ", ".join(f"{name} {value:.4g}" for name, value in self.regret.items())
        return (
            f"Gap to the optimum: {self.hypervolume:.2%} of the exact hypervolume, {self.found} of {self.front} points "
            f"of the exact front, the best {regrets} away from the best there is"
        )


class Oracle:
    """Answers from a landscape; `objectives` (absent: those that it was made for) say what is better."""

    def __init__(self, landscape: Landscape, objectives: Sequence[Objective] | None = None) -> None:
        self.landscape = landscape
        self.objectives = tuple(objectives or (Objective(**row) for row in landscape.about["objectives"]))
        missing = [o.metric for o in self.objectives if o.metric not in landscape.metrics]
        if missing:
            raise SearchError(f"{landscape.path} has no {missing[0]} (it has {', '.join(landscape.metrics)})")

    @cached_property
    def costs(self) -> np.ndarray[Any, Any]:
        """`(points, objectives)`, less is better; a point without metrics has infinite costs."""
        columns = [self._sign(o) * self.landscape.metrics[o.metric] for o in self.objectives]
        costs = np.stack(columns, axis=1)
        costs[~np.isfinite(costs).all(1)] = np.inf
        return costs

    @cached_property
    def front(self) -> Front:
        """The exact front."""
        finite = np.flatnonzero(np.isfinite(self.costs).all(1))
        return Front.of(self.costs[finite], finite)

    def standing(self, index: int) -> Standing:
        """Where point `index` stands; raises SearchError where there is none."""
        if not 0 <= index < self.landscape.size:
            raise SearchError(f"{self.landscape.path} has points 0 to {self.landscape.size - 1}, not {index}")
        own = self.costs[index]
        no_worse = self.costs <= own
        dominated_by = int((no_worse.all(1) & (self.costs < own).any(1)).sum())
        regret = {}
        for column, objective in enumerate(self.objectives):
            others = np.delete(no_worse, column, axis=1).all(1)
            regret[objective.metric] = float(own[column] - self.costs[others, column].min())
        metrics = {name: float(values[index]) for name, values in self.landscape.metrics.items()}
        return Standing(index, metrics, dominated_by, regret)

    def gap(self, indexes: Sequence[int]) -> Gap:
        """How near a set of points comes to the exact front."""
        chosen = np.unique([index for index in indexes if np.isfinite(self.costs[index]).all()]).astype(np.int64)
        if not len(chosen):
            raise SearchError("none of these points has metrics: there is no front to compare")
        own = Front.of(self.costs[chosen], chosen)
        finite = self.costs[np.isfinite(self.costs).all(1)]
        ideal, worst = finite.min(0), finite.max(0)
        exact = self.front.hypervolume(ideal, worst)
        known = {tuple(row) for row in self.front.costs.tolist()}
        best = self.costs[chosen].min(0) - ideal
        return Gap(
            points=len(chosen),
            hypervolume=own.hypervolume(ideal, worst) / exact if exact else 1.0,
            found=sum(tuple(row) in known for row in own.costs.tolist()),
            front=len(known),
            regret={o.metric: float(value) for o, value in zip(self.objectives, best, strict=True)},
        )

    def _sign(self, objective: Objective) -> float:
        return 1.0 if (objective.direction == "minimize") == (objective.scale > 0) else -1.0
