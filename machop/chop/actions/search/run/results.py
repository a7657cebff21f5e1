"""Selects the result among the trials: the Pareto front, or the trial with the smallest violation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from chop.actions.search.search_space.base import SearchSpaceBase
from chop.record.front import Front
from chop.record.goals import Goals, columns
from chop.record.trial import BestRow, FrontRow, Trial

LARGEST_LOG = 100_000


def best_rows(trials: Sequence[Trial], goals: Goals, space: SearchSpaceBase) -> list[BestRow]:
    """The Pareto front, or the best trial by a sum, of the trials that satisfy all constraints.

    Where none does it is the trial that comes nearest.
    """
    measured = [trial for trial in trials if trial.counts]
    if not measured:
        return []
    within = [trial for trial in measured if goals.is_within(trial.metrics)]
    rows = pareto_set(within, goals) if within else [FrontRow(nearest(measured, goals))]
    return [BestRow(row.trial, row.equals, space.flattened_indexes_to_config(row.trial.point)) for row in rows]


def pareto_set(trials: Sequence[Trial], goals: Goals) -> list[FrontRow]:
    """The trials that no other dominates, by number; of equal ones the first.

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
    """The trial with the smallest violation; of equal ones the first."""
    return trials[int(goals.excess(columns(trials, goals.metrics)).argmin())]


def shortfall(metrics: Mapping[str, float], goals: Goals) -> str:
    """One line on the constraints that the trial with the smallest violation does not satisfy."""
    return f"No configuration satisfies all constraints. The nearest is shown; it violates {goals.misses(metrics)}."
