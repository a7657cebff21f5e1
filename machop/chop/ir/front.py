"""Pareto fronts of very many points, folded block by block; less is better throughout."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Front:
    """The points that no other dominates: `costs` `(points, objectives)`, each once, in lexicographic order.

    `index` is the lowest number among the points with those costs, `count` how many there are.
    """

    costs: Array
    index: Array
    count: Array

    @classmethod
    def of(cls, costs: Array, index: Array, count: Array | None = None) -> Front:
        """The front of points with `costs`, numbered `index`; `count` is how many points each stands for.

        >>> Front.of(np.array([[1, 2], [2, 1], [2, 2], [1, 2]]), np.arange(4)).count.tolist()
        [2, 1]
        """
        count = np.ones(len(costs), dtype=np.int64) if count is None else count
        kept = _candidates(costs)
        distinct, own = np.unique(costs[kept], axis=0, return_inverse=True)
        own = own.reshape(-1)
        lowest = np.full(len(distinct), np.iinfo(np.int64).max)
        np.minimum.at(lowest, own, index[kept])
        total = np.zeros(len(distinct), dtype=np.int64)
        np.add.at(total, own, count[kept])
        best = _skyline(distinct)
        return cls(distinct[best], lowest[best], total[best])

    def joined(self, other: Front) -> Front:
        """The front of the points of both."""
        return Front.of(
            np.concatenate([self.costs, other.costs]),
            np.concatenate([self.index, other.index]),
            np.concatenate([self.count, other.count]),
        )

    def hypervolume(self, ideal: Array, worst: Array) -> float:
        """The share of the box between `ideal` and `worst` that is dominated; objectives that never vary are left out.

        >>> front = Front.of(np.array([[0.0, 0.5], [0.5, 0.0]]), np.arange(2))
        >>> front.hypervolume(np.zeros(2), np.ones(2))
        0.75
        """
        varies = worst > ideal
        scaled = (self.costs[:, varies] - ideal[varies]) / (worst - ideal)[varies]
        return dominated_volume(np.clip(scaled, 0.0, 1.0)) if varies.any() else 1.0


def _candidates(costs: Array) -> Array:
    """Rows that a few good ones do not dominate: what is left of a large block is small."""
    kept = np.arange(len(costs))
    if len(costs) <= 64:
        return kept
    spans = np.ptp(costs, axis=0)
    scaled = (costs - costs.min(0)) / np.where(spans > 0, spans, 1.0)
    directions = np.random.default_rng(0).dirichlet(np.ones(costs.shape[1]), 32)
    directions = np.concatenate([directions, np.eye(costs.shape[1]) + 1e-6])
    for direction in directions:
        own = costs[kept[np.argmin(scaled[kept] @ direction)]]
        rest = costs[kept]
        kept = kept[~((own <= rest).all(1) & (own < rest).any(1))]
    return kept


def _skyline(costs: Array) -> Array:
    """Which of distinct rows in lexicographic order no other dominates."""
    if costs.shape[1] <= 2:
        last = costs[:, -1]
        before = np.minimum.accumulate(np.append(np.inf, last[:-1]))
        return np.less(last, before)
    best: list[int] = []
    for row in range(len(costs)):
        if not (costs[best] <= costs[row]).all(1).any():
            best.append(row)
    found = np.zeros(len(costs), dtype=bool)
    found[best] = True
    return found


def dominated_volume(points: Array) -> float:
    """What `points` `(points, objectives)` in the unit cube dominate of it, slice by slice along the last objective."""
    if not len(points):
        return 0.0
    if points.shape[1] == 1:
        return float(1.0 - points.min())
    if points.shape[1] == 2:
        return _area(points)
    order = points[np.argsort(points[:, -1], kind="stable")]
    bounds = np.append(order[:, -1], 1.0)
    volume = 0.0
    for rows in range(1, len(order) + 1):
        thickness = float(bounds[rows] - bounds[rows - 1])
        if thickness > 0:
            volume += thickness * dominated_volume(order[:rows, :-1])
    return volume


def _area(points: Array) -> float:
    """What `points` `(points, 2)` in the unit square dominate of it."""
    order = points[np.argsort(points[:, 0], kind="stable")]
    widths = np.diff(order[:, 0], append=1.0)
    return float(widths @ (1.0 - np.minimum.accumulate(order[:, 1])))
