"""The results of a search among its trials: the Pareto set, or the trial that comes nearest to the constraints."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from chop.actions.search.search_space.base import SearchSpaceBase
from chop.record.front import Front
from chop.record.goals import Goals, columns
from chop.record.trial import BestRow, FrontRow, Trial

LARGEST_LOG = 100_000


def best_rows(trials: Sequence[Trial], goals: Goals, space: SearchSpaceBase) -> list[BestRow]:
    """The Pareto set, or the best trial where a sum is optimised, of the trials that keep all limits.

    Where none does it is the trial that comes nearest.
    """
    measured = [trial for trial in trials if trial.counts]
    if not measured:
        return []
    within = [trial for trial in measured if goals.is_within(trial.metrics)]
    rows = pareto_set(within, goals) if within else [FrontRow(nearest(measured, goals))]
    return [BestRow(row.trial, row.equals, space.flattened_indexes_to_config(row.trial.point)) for row in rows]


def pareto_set(trials: Sequence[Trial], goals: Goals) -> list[FrontRow]:
    """The trials that no other dominates, by number; equal ones stand once, under the lowest number.

    >>> from chop.record.trial import Objective
    >>> def row(number, a, b):
    ...     return Trial(number, {}, {}, {"a": a, "b": b}, {})
    >>> goals = Goals((Objective("a", direction="maximize"), Objective("b", direction="minimize")))
    >>> [r.trial.number for r in pareto_set([row(0, 1, 1), row(1, 2, 2), row(2, 1, 3), row(3, 2, 2)], goals)]
    [0, 1]
    """
    costs = goals.costs_of(trials)
    front = Front.of(costs, np.arange(len(trials)))
    rows = []
    for index, own in sorted(zip(front.index.tolist(), front.costs, strict=True), key=lambda row: row[0]):
        equals = np.flatnonzero((costs == own).all(1)).tolist()
        rows.append(FrontRow(trials[index], tuple(trials[place].number for place in equals[1:])))
    return rows


def nearest(trials: Sequence[Trial], goals: Goals) -> Trial:
    """The trial that exceeds the limits least, of equal ones the first."""
    return trials[int(goals.excess(columns(trials, goals.metrics)).argmin())]


def shortfall(metrics: Mapping[str, float], goals: Goals) -> str:
    """One line on limits that the nearest network does not keep."""
    return f"No measured network keeps all limits. The nearest is shown; it misses {goals.misses(metrics)}."
