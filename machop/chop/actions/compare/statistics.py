"""Tests whether two strategies differ: exact paired test, effect size, correction for many comparisons."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import isinf
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]
DRAWS = 2000


@dataclass(frozen=True)
class Sample:
    """One number for each seed, infinite where a target was not reached; less is better.

    A deterministic strategy has one value, the same for every seed.
    """

    values: tuple[float, ...]
    deterministic: bool = False

    @property
    def median(self) -> float:
        """The median; infinite where half of the runs have not reached the target."""
        return float(np.median(self.values))


@dataclass(frozen=True)
class Difference:
    """The difference of a sample from a reference.

    `p` is None where both are deterministic; `least_p` is the smallest p that samples of this size can reach.

    `effect` is the rank-biserial correlation of matched pairs: 1 where the one is better with every seed, -1 where it
    is worse with every seed; its sign is that of the test. `alike`: the two are the same with every seed. `ratio` is
    how many times the one's median goes into the other's, with a 95 % interval; infinite where only the other has not
    reached the target, None where it says nothing (the one has not reached it, or has a median of 0).
    """

    p: float | None
    effect: float
    alike: bool
    least_p: float | None = None
    ratio: float | None = None
    ratio_low: float | None = None
    ratio_high: float | None = None


def difference(own: Sample, reference: Sample, seed: int = 0) -> Difference:
    """Compare two samples seed by seed, over the seeds that both have.

    Strategies with one seed may begin alike (samplers that draw their first points with it do), so that their runs are
    pairs: the test is Wilcoxon's for matched pairs. A strategy without chance has the same value in every pair.
    """
    ours, theirs = _paired(own, reference)
    differences = [_minus(theirs, ours) for ours, theirs in zip(ours.tolist(), theirs.tolist(), strict=True)]
    is_certain = own.deterministic and reference.deterministic
    p = None if is_certain else signed_rank_p(differences)
    least = None if is_certain else min(1.0, 2.0 ** (1 - len(differences)))
    ratios = _ratio(own.median, reference.median, ours, theirs, seed)
    return Difference(p, rank_biserial(differences), not any(differences), least, *ratios)


def signed_rank_p(differences: Sequence[float]) -> float:
    """Two-sided p of Wilcoxon's signed-rank test, exact also with ties; zeros are left out.

    >>> signed_rank_p([1.0, 2.0, 3.0, float("inf")])
    0.125
    """
    kept = _not_zero(differences)
    if not len(kept):
        return 1.0
    twice = np.rint(2 * ranks(np.abs(kept))).astype(np.int64)
    ways = np.zeros(int(twice.sum()) + 1)
    ways[0] = 1.0
    for rank in twice.tolist():
        ways[rank:] += ways[: len(ways) - rank].copy()
    mean = twice.sum() / 2
    far = np.abs(np.arange(len(ways)) - mean) >= abs(int(twice[kept > 0].sum()) - mean) - 1e-9
    return float(min(1.0, ways[far].sum() / ways.sum()))


def rank_biserial(differences: Sequence[float]) -> float:
    """Rank-biserial correlation of matched pairs (Kerby, Comprehensive Psychology 3, 2014).

    The share of the ranks of positive differences minus the share of negative ones; 0 if there is no difference.

    >>> rank_biserial([1.0, 2.0, 3.0]), rank_biserial([-1.0, 3.0, 0.0])
    (1.0, 0.3333333333333333)
    """
    kept = _not_zero(differences)
    if not len(kept):
        return 0.0
    own = ranks(np.abs(kept))
    return float((own * np.sign(kept)).sum() / own.sum())


def _not_zero(differences: Sequence[float]) -> Array:
    return np.array([value for value in differences if value != 0], dtype=np.float64)


def ranks(values: Array) -> Array:
    """Ranks from 1, equal values sharing their mean rank.

    >>> ranks(np.array([3.0, 1.0, 3.0])).tolist()
    [2.5, 1.0, 2.5]
    """
    _, own, count = np.unique(values, return_inverse=True, return_counts=True)
    mean: Array = np.cumsum(count) - (count - 1) / 2
    return mean[own.reshape(-1)]


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Holm's correction for all comparisons in the list; None stays None.

    >>> holm([0.01, None, 0.04, 0.03])
    [0.03, None, 0.06, 0.06]
    """
    order = sorted((p, place) for place, p in enumerate(p_values) if p is not None)
    corrected: list[float | None] = [None] * len(p_values)
    largest = 0.0
    for rank, (p, place) in enumerate(order):
        largest = max(largest, min(1.0, p * (len(order) - rank)))
        corrected[place] = largest
    return corrected


def _ratio(
    own: float, reference: float, ours: Array, theirs: Array, seed: int
) -> tuple[float | None, float | None, float | None]:
    """The ratio of the medians with its 95 % bootstrap interval over pairs; no interval if all pairs are equal.

    Where neither median of a resample is finite the resample shows no difference, and counts as 1.
    """
    if isinf(own) or own == 0:
        return None, None, None
    if len(np.unique(ours)) == len(np.unique(theirs)) == 1:
        return reference / own, None, None
    drawn = np.random.default_rng(seed).integers(0, len(ours), (DRAWS, len(ours)))
    below, above = np.median(ours[drawn], 1), np.median(theirs[drawn], 1)
    with np.errstate(invalid="ignore", divide="ignore"):
        ratios = np.where(np.isinf(below) & np.isinf(above), 1.0, above / below)
    ratios = np.sort(ratios[~np.isnan(ratios)])
    if not len(ratios):
        return reference / own, None, None
    low, high = np.quantile(ratios, 0.025, method="lower"), np.quantile(ratios, 0.975, method="higher")
    return reference / own, float(low), float(high)


def _paired(own: Sample, reference: Sample) -> tuple[Array, Array]:
    """Two samples by seed, over the seeds that both have; a deterministic value holds for every seed."""
    pairs = min((len(s.values) for s in (own, reference) if not s.deterministic), default=1)
    ours, theirs = (
        np.repeat(s.values[:1], pairs) if s.deterministic else np.array(s.values[:pairs]) for s in (own, reference)
    )
    return ours, theirs


def _minus(value: float, other: float) -> float:
    return 0.0 if value == other else value - other
