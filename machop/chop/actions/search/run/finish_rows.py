"""Selects the networks to tune, and draws the front again from tuned networks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from chop.actions.search.run.results import nearest, pareto_set
from chop.record.front import Front
from chop.record.goals import Goals, columns
from chop.record.trial import BestRow, Trial


def near_front(trials: Sequence[Trial], goals: Goals, count: int) -> list[Trial]:
    """The `count` trials nearest the front, by number.

    They are taken front by front (the front, then that of all others, and so on), where the violation of constraints
    counts as one more objective. Of the last front that counts, those with the least violation are taken; where none
    has any, they are spread evenly along the first objective.

    >>> from chop.record.trial import Objective
    >>> goals = Goals((Objective("bits", direction="minimize"), Objective("loss", direction="minimize")))
    >>> points = [(1, 9), (2, 8), (3, 3), (4, 4), (9, 1), (9, 9)]
    >>> trials = [Trial(n, {}, {}, {"bits": a, "loss": b}, {}) for n, (a, b) in enumerate(points)]
    >>> [own.number for own in near_front(trials, goals, 2)], [own.number for own in near_front(trials, goals, 5)]
    ([0, 4], [0, 1, 2, 3, 4])
    """
    if not trials:
        return []
    excess = goals.excess(columns(trials, goals.metrics))
    costs = np.column_stack([goals.costs_of(trials), excess])
    chosen: list[int] = []
    for layer in _layers(costs):
        left = count - len(chosen)
        if left <= 0:
            break
        chosen += layer if len(layer) <= left else _best_of(layer, costs, left)
    return [trials[place] for place in sorted(chosen, key=lambda place: trials[place].number)]


def _layers(costs: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> Iterator[list[int]]:
    """The places of the front, then of the front of all others, and so on; in the order of the first objective."""
    left = np.arange(len(costs))
    while len(left):
        layer = Front.of(costs[left], left).index
        yield layer.tolist()
        left = np.setdiff1d(left, layer, assume_unique=True)


def _best_of(layer: list[int], costs: np.ndarray[tuple[int, ...], np.dtype[np.float64]], count: int) -> list[int]:
    excess = costs[layer, -1]
    if excess.any():
        return [layer[place] for place in np.argsort(excess, kind="stable")[:count].tolist()]
    return [layer[place] for place in np.linspace(0, len(layer) - 1, count).round().astype(int).tolist()]


def better_half(trials: Sequence[Trial], goals: Goals) -> list[Trial]:
    """The half of some trials that is nearest their front, and at least that front."""
    within = [trial for trial in trials if goals.is_within(trial.metrics)]
    return near_front(trials, goals, max(len(pareto_set(within, goals)) if within else 1, (len(trials) + 1) // 2))


def drawn_again(best: Sequence[BestRow], tuned: Sequence[BestRow], goals: Goals) -> list[BestRow]:
    """The front of all tuned networks and of those that the search found, by number.

    `best` is the front of the search; `tuned` has each network as often as it was tuned, for the most epochs first. A
    network that tuning made worse and cheaper appears as often as nothing dominates it, tuned before untuned.
    """
    rows = [*tuned, *best]
    within = [row for row in rows if goals.is_within(row.trial.metrics)]
    if not within:
        closest = nearest([row.trial for row in rows], goals)
        return [next(row for row in rows if row.trial is closest)]
    found: list[BestRow] = []
    numbered = [replace(row.trial, number=place) for place, row in enumerate(within)]
    for own in pareto_set(numbered, goals):
        row, others = within[own.trial.number], [within[place].trial.number for place in own.equals]
        equals = {*row.equals, *others} if row.finished is None else {*others}
        number = row.trial.number
        found.append(replace(row, equals=tuple(sorted(equals - {number}))))
    return sorted(found, key=lambda row: row.trial.number)
