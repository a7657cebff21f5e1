"""Fronts and histograms that are folded block by block, against the definitions written out."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chop.record.front import Front
from chop.record.histogram import MOST_BINS, Histogram


def costs_of(seed: int, points: int, objectives: int) -> np.ndarray:
    """Few distinct values, so that many points are equal or dominate each other."""
    return np.random.default_rng(seed).integers(0, 9, (points, objectives)).astype(float)


@given(seed=st.integers(0, 10**6), points=st.integers(1, 300), objectives=st.integers(1, 4), parts=st.integers(1, 5))
def test_a_front_is_what_no_point_dominates_in_whatever_parts(
    seed: int, points: int, objectives: int, parts: int
) -> None:
    costs = costs_of(seed, points, objectives)
    better = (costs[:, None] <= costs).all(2) & (costs[:, None] < costs).any(2)
    wanted = {tuple(row) for row in costs[~better.any(0)].tolist()}
    found: Front | None = None
    for rows in reversed(np.array_split(np.arange(points), parts)):
        if len(rows):
            part = Front.of(costs[rows], rows)
            found = part if found is None else found.joined(part)
    assert found is not None
    assert {tuple(row) for row in found.costs.tolist()} == wanted
    for own, index, count in zip(found.costs, found.index, found.count, strict=True):
        equal = np.flatnonzero((costs == own).all(1))
        assert (index, count) == (equal[0], len(equal))


@given(seed=st.integers(0, 10**6), objectives=st.integers(1, 6))
def test_the_hypervolume_is_the_share_of_cells_that_are_dominated(seed: int, objectives: int) -> None:
    """On a grid of whole numbers every unit cell is dominated as a whole, or not at all."""
    costs = np.random.default_rng(seed).integers(0, 5, (8, objectives)).astype(float)
    cells = np.stack(np.meshgrid(*[np.arange(5)] * objectives, indexing="ij"), -1).reshape(-1, objectives)
    wanted = (costs[:, None] <= cells).all(2).any(0).mean()
    found = Front.of(costs, np.arange(8)).hypervolume(np.zeros(objectives), np.full(objectives, 5.0))
    assert found == pytest.approx(wanted)


@given(seed=st.integers(0, 10**6), scale=st.floats(1e-6, 1e6))
def test_histograms_of_parts_make_the_histogram_of_all(seed: int, scale: float) -> None:
    draw = np.random.default_rng(seed)
    parts = [draw.normal(draw.normal() * 5, draw.random() + 0.01, 50) * scale for _ in range(3)]
    found = Histogram.of(parts[0]).joined(Histogram.of(parts[1])).joined(Histogram.of(parts[2]))
    values = np.floor(np.concatenate(parts) / 2.0**found.exponent)
    assert dict(found.counts) == dict(zip(*np.unique(values, return_counts=True), strict=True))
    assert found.bins <= MOST_BINS + 1
