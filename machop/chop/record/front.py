"""Computes Pareto fronts and hypervolumes of very many points, block by block; less is better throughout."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Front:
    """A Pareto front: `costs` `(points, objectives)`, each once, in lexicographic order.

    `index` is the lowest number among the points with those costs, `count` how many there are.
    """

    costs: Array
    index: Array
    count: Array

    @classmethod
    def of(cls, costs: Array, index: Array, count: Array | None = None) -> Front:
        """The front of points with `costs`, numbered `index`; `count` is the number of points with equal costs.

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
        """The front of the points of both fronts."""
        return Front.of(
            np.concatenate([self.costs, other.costs]),
            np.concatenate([self.index, other.index]),
            np.concatenate([self.count, other.count]),
        )

    def hypervolume(self, ideal: Array, worst: Array) -> float:
        """The dominated share of the box between `ideal` and `worst`; constant objectives are left out.

        >>> front = Front.of(np.array([[0.0, 0.5], [0.5, 0.0]]), np.arange(2))
        >>> front.hypervolume(np.zeros(2), np.ones(2))
        0.75
        """
        varies = worst > ideal
        scaled = (self.costs[:, varies] - ideal[varies]) / (worst - ideal)[varies]
        return dominated_volume(np.clip(scaled, 0.0, 1.0)) if varies.any() else 1.0


def _candidates(costs: Array) -> Array:
    """Rows that a few good ones do not dominate: a quick reduction of a large block."""
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
    """Which of distinct rows in lexicographic order are undominated."""
    if costs.shape[1] <= 2:
        last = costs[:, -1]
        before = np.minimum.accumulate(np.append(np.inf, last[:-1]))
        return np.less(last, before)
    best, number = np.empty_like(costs), 0
    found = np.zeros(len(costs), dtype=bool)
    for row in range(len(costs)):
        if not (best[:number] <= costs[row]).all(1).any():
            best[number] = costs[row]
            number += 1
            found[row] = True
    return found


def dominated_volume(points: Array) -> float:
    """The volume of the unit cube that `points` `(points, objectives)` dominate.

    Of five objectives and more by what each point adds (While et al., IEEE Trans. Evol. Comput. 16, 2012, 86-95), of
    four slice by slice, of three in a sweep.
    """
    if not len(points):
        return 0.0
    if points.shape[1] == 1:
        return float(1.0 - points.min())
    if points.shape[1] == 2:
        return _area(points)
    order = points[np.argsort(points[:, -1], kind="stable")]
    if points.shape[1] == 3:
        return _swept(order)
    return _sliced(order) if points.shape[1] == 4 else _added_up(order[::-1])


def _sliced(order: Array) -> float:
    """The volume of points in ascending order of the last objective, slice by slice between two values of it."""
    bounds = np.append(order[:, -1], 1.0)
    gaps = np.diff(bounds)
    return sum(float(gaps[row]) * dominated_volume(order[: row + 1, :-1]) for row in np.flatnonzero(gaps > 0).tolist())


def _added_up(order: Array) -> float:
    """The volume of points in descending order of the last objective: each adds its box minus what is covered later."""
    volume = 0.0
    for row, own in enumerate(order):
        others = np.unique(np.maximum(order[row + 1 :, :-1], own[:-1]), axis=0)
        inside = dominated_volume(others[_skyline(others)])
        volume += float(1.0 - own[-1]) * (float(np.prod(1.0 - own[:-1])) - inside)
    return volume


def _swept(order: Array) -> float:
    """The volume of `(points, 3)` in ascending order of the last objective, kept as the staircase of the first two."""
    xs: list[float] = []
    ys: list[float] = []
    area = volume = reached = 0.0
    for x, y, z in order.tolist():
        volume += area * (z - reached)
        reached = z
        place = bisect_left(xs, x)
        height = ys[place - 1] if place else 1.0
        if height <= y or (place < len(xs) and xs[place] == x and ys[place] <= y):
            continue
        stop, left = place, x
        while stop < len(xs) and ys[stop] >= y:
            area += (xs[stop] - left) * (height - y)
            left, height = xs[stop], ys[stop]
            stop += 1
        area += ((xs[stop] if stop < len(xs) else 1.0) - left) * (height - y)
        xs[place:stop], ys[place:stop] = [x], [y]
    return volume + area * (1.0 - reached)


def _area(points: Array) -> float:
    """The area of the unit square that `points` `(points, 2)` dominate."""
    order = points[np.argsort(points[:, 0], kind="stable")]
    widths = np.diff(order[:, 0], append=1.0)
    return float(widths @ (1.0 - np.minimum.accumulate(order[:, 1])))
