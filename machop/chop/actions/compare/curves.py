"""Curves of a run over its evaluations: hypervolume, regret under budgets, evaluations to targets."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import ceil, floor, log10
from typing import Any

import numpy as np

from chop.actions.oracle import Oracle
from chop.record.comparison import Band
from chop.record.front import Front, dominated_volume
from chop.record.goals import Goals, sign
from chop.record.trial import Objective

Array = np.ndarray[Any, Any]
BUDGET_SHARES = (0.25, 0.5, 0.75)
"""Quantiles of the exact front's cost that serve as budgets."""

SLACK = 1e-9
"""The rounding error of sums that is allowed when a share is compared with a target."""


class GrowingFront:
    """The share of the unit cube that points dominate, updated point by point; less is better.

    A point adds the box between it and the worst corner, less what is dominated of that box already. One that another
    dominates adds nothing and costs next to nothing.
    """

    def __init__(self, objectives: int) -> None:
        self._points = np.empty((0, objectives))
        self.volume = 0.0

    def add(self, point: Array) -> None:
        """Add a point `(objectives,)` in the unit cube."""
        known = self._points
        if (known <= point).all(1).any():
            return
        inside = np.maximum(known, point)
        if known.shape[1] > 2 and len(known) > 1:
            inside = Front.of(inside, np.arange(len(inside))).costs
        self.volume += float(np.prod(1.0 - point)) - dominated_volume(inside)
        self._points = np.concatenate([known[~(point <= known).all(1)], point[None]])


def hypervolume_curve(oracle: Oracle, rows: Array) -> Array:
    """Hypervolume after each evaluation, as a share of that of the exact front, `(evaluations,)`.

    Objectives are scaled to their range over all measured points, the reference is the worst of each (`Oracle.bounds`).
    Points that violate a constraint, or have no metrics, add nothing.
    """
    ideal, worst = oracle.bounds
    varies = worst > ideal
    costs = oracle.costs[rows]
    counts = np.isfinite(costs).all(1)
    if not varies.any() or oracle.volume == 0:
        return np.maximum.accumulate(counts.astype(float)) if len(rows) else np.empty(0)
    scaled = np.clip((costs[:, varies] - ideal[varies]) / (worst - ideal)[varies], 0.0, 1.0)
    front = GrowingFront(scaled.shape[1])
    curve = np.empty(len(rows))
    for place in range(len(rows)):
        if counts[place]:
            front.add(scaled[place])
        curve[place] = front.volume
    # Equal sets of points give equal shares, whatever the order in which their volumes were added up.
    return np.asarray(np.minimum(curve / oracle.volume, 1.0).round(DIGITS))


DIGITS = 12
"""Decimals of a share of the hypervolume: the last ones depend on the order of a sum."""


@dataclass(frozen=True)
class Question:
    """Asks for the best value of `objective` in a network whose `cost` (None: any) is at most `most`.

    Numbers are columns of `Oracle.costs`, and `most` is in their unit.
    """

    objective: int
    cost: int | None = None
    most: float = np.inf

    def best(self, costs: Array) -> Array:
        """The value of each admissible point, infinite for the others, `(points,)`."""
        values: Array = costs[:, self.objective]
        return values if self.cost is None else np.where(costs[:, self.cost] <= self.most, values, np.inf)

    def label(self, goals: Goals, units: Mapping[str, str]) -> str:
        """The question as text: `accuracy, average_bitwidth <= 4.2 bit`."""
        if self.cost is None:
            return goals.names[self.objective]
        objective = goals.objectives[self.cost]
        bound = self.most / _unit(objective)
        relation = "<=" if objective.turn > 0 else ">="
        unit = units.get(objective.metric, "")
        return f"{goals.names[self.objective]}, {objective.metric} {relation} {bound:,.15g} {unit}".rstrip()


def questions(oracle: Oracle, is_learned: Sequence[bool]) -> list[Question]:
    """The questions that regret is reported for: the best of each measured metric under budgets of each cost.

    `is_learned` says of each value whether it must be measured. Where that tells nothing apart, the first value is
    asked for under budgets of the others. The budgets are quantiles of the exact front's costs, made round.
    """
    values = len(oracle.goals.names)
    if values == 1:
        return [Question(0)]
    learned = [value for value in range(values) if is_learned[value]]
    if len(learned) in {0, values}:
        learned = [0]
    found = []
    for objective in learned:
        for cost in (value for value in range(values) if value not in learned):
            bounds = np.quantile(oracle.front.costs[:, cost], BUDGET_SHARES, method="higher")
            costs = oracle.front.costs[:, cost] / _unit(oracle.goals.objectives[cost])
            wide = [_made_round(float(bound), oracle.goals.objectives[cost], float(np.ptp(costs))) for bound in bounds]
            found += [Question(objective, cost, most) for most in dict.fromkeys(wide)]
    return found


def _unit(objective: Objective) -> float:
    """The cost of a metric of 1."""
    return sign(objective.direction) * objective.scale


def _made_round(cost: float, objective: Objective, reach: float) -> float:
    """Round a cost up to a metric of four digits, or more if the front has a `reach` that small.

    The printed budget is exactly the budget that is asked for.

    >>> _made_round(12.99307, Objective("bits", 2.0, "minimize"), 9.0)
    12.994
    >>> _made_round(-0.71239, Objective("accuracy", 1.0, "maximize"), 0.5)
    -0.7123
    >>> _made_round(1000500.0, Objective("size", 1.0, "minimize"), 800.0)
    1000500.0
    """
    unit = _unit(objective)
    value = cost / unit
    sizes = [abs(size) for size in (value, reach) if 1e-100 < abs(size) < 1e100]
    if not sizes:
        return cost
    digits = 3 - floor(log10(min(sizes)))
    if unit * round(value, digits) >= cost:
        return unit * round(value, digits)
    return unit * round((ceil if unit > 0 else floor)(value * 10.0**digits) / 10.0**digits, digits)


def regret_curve(oracle: Oracle, question: Question, rows: Array) -> Array:
    """Regret after each evaluation: the distance of the best point so far to the exact answer, `(evaluations,)`.

    In the unit of the metric. Before any point answers the question it counts as the worst of the space.
    """
    exact = question.best(oracle.front.costs).min()
    worst = oracle.bounds[1][question.objective]
    best = np.minimum(question.best(oracle.costs[rows]), worst)
    goals = oracle.goals
    scale = 1.0 if goals.sum_direction else abs(goals.objectives[question.objective].scale)
    regret: Array = (np.minimum.accumulate(best) - exact) / scale
    return regret


def evaluations_to(curve: Array, target: float) -> float:
    """The number of evaluations after which `curve` reaches `target`; infinite if it never does.

    >>> evaluations_to(np.array([0.2, 0.9, 0.95]), 0.9), evaluations_to(np.array([0.2]), 0.9)
    (2.0, inf)
    """
    reached = np.flatnonzero(curve >= target - SLACK)
    return float(reached[0] + 1) if len(reached) else np.inf


def by_trial(curve: Array, is_new: Array) -> Array:
    """A curve over evaluations as a curve over trials, with the repeats.

    >>> by_trial(np.array([0.2, 0.5]), np.array([True, False, True])).tolist()
    [0.2, 0.2, 0.5]
    """
    found: Array = curve[np.cumsum(is_new) - 1]
    return found


def extended(curve: Array, length: int) -> Array:
    """A curve of a run that ended early, extended to `length` by its last value."""
    last = curve[-1:] if len(curve) else np.zeros(1)
    return np.append(curve[:length], np.repeat(last, max(0, length - len(curve))))


def band(curves: Iterable[Array], length: int) -> Band:
    """Median and 10-90 % band of curves, each extended to `length`."""
    stacked = np.stack([extended(curve, length) for curve in curves])
    low, median, high = np.quantile(stacked, (0.1, 0.5, 0.9), axis=0)
    return Band(low, median, high)


def spread(values: Sequence[float]) -> tuple[float, float, float]:
    """10 % quantile, median and 90 % quantile of numbers that may be infinite (targets that were not reached).

    >>> spread([1.0, 2.0, np.inf])
    (1.0, 2.0, inf)
    """
    ordered = np.sort(np.asarray(values, dtype=np.float64))
    low = float(np.quantile(ordered, 0.1, method="lower"))
    high = float(np.quantile(ordered, 0.9, method="higher"))
    return low, float(np.median(ordered)), high
