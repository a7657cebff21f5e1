"""Numbers of a report: columns of metrics, the history of a search, correlations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chop.record.front import Front
from chop.record.goals import Goals
from chop.record.trial import Trial

Floats = NDArray[np.float64]
CHECKPOINTS = 240
"""Places along a search at which its history is drawn."""

DIGITS = 6
LEAST_TRIALS = 12
"""Trials below which correlations and the importance of choices say nothing."""


def rounded(values: Sequence[float] | Floats) -> list[float | None]:
    """Numbers as JSON, to six significant digits; what is no finite number becomes null.

    >>> rounded([0.123456789, float("nan"), 3.0])
    [0.123457, None, 3.0]
    """
    return [float(f"{value:.{DIGITS}g}") if np.isfinite(value) else None for value in values]


@dataclass(frozen=True)
class Binned:
    """In which of some bins of equal width each value lies, and where the first one begins and the last one ends."""

    places: NDArray[np.int64]
    ends: tuple[float, float]


def binned(values: Floats, bins: int) -> Binned:
    """Finite values in bins from the least to the greatest; in bins of one unit in all where they are equal.

    >>> binned(np.array([0.0, 1.0, 4.0, 2.0]), 4).places.tolist()
    [0, 1, 3, 2]
    """
    low, high = float(values.min()), float(values.max())
    low, high = (low, high) if high > low else (low - 0.5, high + 0.5)
    places = ((values - low) * (bins / (high - low))).astype(np.int64)
    return Binned(np.minimum(places, bins - 1), (low, high))


def column(trials: Sequence[Trial], name: str) -> Floats:
    """A metric of all trials; NaN where one has none."""
    return np.array([trial.metrics.get(name, np.nan) for trial in trials], np.float64)


def history(trials: Sequence[Trial], goals: Goals) -> dict[str, Any]:
    """The best value of each objective so far, and the hypervolume of the front so far, by evaluation.

    The hypervolume is that of the unit box between the best and the worst value of each objective that was measured;
    constraints hold. Empty where no trial satisfies them.
    """
    counted = [trial for trial in trials if trial.counts]
    if not counted:
        return {}
    costs = goals.costs_of(counted)
    within = np.array([goals.is_within(trial.metrics) for trial in counted]) & np.isfinite(costs).all(1)
    if not within.any():
        return {}
    places = np.unique(np.linspace(1, len(counted), min(CHECKPOINTS, len(counted))).round().astype(int))
    ideal, worst = costs[within].min(0), costs[within].max(0)
    best = np.minimum.accumulate(np.where(within[:, None], costs, np.inf))
    turns = [1 if way == "minimize" else -1 for way in goals.directions]
    scales = [1.0] if goals.sum_direction else [own.scale for own in goals.objectives]
    found: dict[str, Any] = {
        "evaluations": places.tolist(),
        "best": {name: rounded(turns[k] * best[places - 1, k] / scales[k]) for k, name in enumerate(goals.names)},
    }
    if costs.shape[1] > 1:
        found["hypervolume"] = rounded(_volumes(costs, within, places, ideal, worst))
    return found


def _volumes(
    costs: Floats, within: NDArray[np.bool_], places: NDArray[np.int64], ideal: Floats, worst: Floats
) -> list[float]:
    """The hypervolume of the first so many evaluations, for each of `places`."""
    front, start, found = None, 0, []
    for place in places.tolist():
        new = np.flatnonzero(within[start:place]) + start
        start = place
        if len(new):
            own = Front.of(costs[new], new)
            front = own if front is None else front.joined(own)
        found.append(front.hypervolume(ideal, worst) if front is not None else 0.0)
    return found


def correlations(columns: Mapping[str, Floats]) -> dict[str, Any]:
    """The rank correlation (Spearman) of all pairs of metrics, over the trials that have all of them."""
    names = [name for name, values in columns.items() if np.isfinite(values).sum() > 2 and np.nanstd(values) > 0]
    if len(names) < 2:
        return {}
    table = np.stack([columns[name] for name in names], 1)
    table = table[np.isfinite(table).all(1)]
    if len(table) < LEAST_TRIALS:
        return {}
    ranks = np.stack([_ranks(own) for own in table.T])
    with np.errstate(invalid="ignore", divide="ignore"):
        found = np.corrcoef(ranks)
    return {"metrics": names, "values": [rounded(row) for row in np.atleast_2d(found)]}


def _ranks(values: Floats) -> Floats:
    """Ranks from 0, equal values share the mean of theirs."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    found: Floats = (ends - (counts + 1) / 2)[inverse]
    return found
