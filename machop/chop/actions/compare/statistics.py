"""Whether two strategies differ: exact rank tests, effect sizes, corrections for many comparisons."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import comb, erfc, isinf, sqrt
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]
EXACT_UP_TO = 60
"""Runs of both strategies together up to which the distribution of the rank sum is counted out."""

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
    """How one sample compares with a reference. `p` is None where neither leaves anything to chance; `least_p` is what
    samples of that size have at the least.

    `effect` is Vargha and Delaney's A12: the chance that a run of the one is better than a run of the other, ties
    half. `ratio` is how many times the one's median goes into the other's, with a 95 % interval; infinite where only
    the other has not reached the target, None where it says nothing (the one has not reached it, or has a median of 0).
    """

    p: float | None
    effect: float
    least_p: float | None = None
    ratio: float | None = None
    ratio_low: float | None = None
    ratio_high: float | None = None


def difference(own: Sample, reference: Sample, seed: int = 0) -> Difference:
    """Compare two samples.

    Runs of two strategies share nothing but the space, so the test is Mann and Whitney's. Against a deterministic
    strategy, whose copies are no sample, it is Wilcoxon's signed-rank test on the differences from its one value.
    """
    if own.deterministic and reference.deterministic:
        p = least = None
    elif own.deterministic or reference.deterministic:
        chance, fixed = (reference, own) if own.deterministic else (own, reference)
        p = signed_rank_p([_minus(value, fixed.values[0]) for value in chance.values])
        least = min(1.0, 2.0 ** (1 - len(chance.values)))
    else:
        p = rank_sum_p(own.values, reference.values)
        least = min(1.0, 2 / comb(len(own.values) + len(reference.values), len(own.values)))
    ratio, low, high = _ratio(own, reference, seed)
    return Difference(p, effect_size(own.values, reference.values), least, ratio, low, high)


def rank_sum_p(first: Sequence[float], second: Sequence[float]) -> float:
    """Two-sided p of the Mann-Whitney test, exact also with ties (the permutation distribution of the rank sum).

    >>> round(rank_sum_p([1, 2, 3], [4, 5, 6]), 6)
    0.1
    """
    twice = np.rint(2 * ranks(np.array([*first, *second], dtype=np.float64))).astype(np.int64)
    own, n = int(twice[: len(first)].sum()), len(first)
    mean = n * twice.sum() / len(twice)
    if len(twice) > EXACT_UP_TO:
        variance = n * len(second) / len(twice) * twice.var(ddof=1)
        return erfc(abs(own - mean) / sqrt(2 * variance)) if variance else 1.0
    ways = np.zeros((n + 1, int(twice.sum()) + 1))
    ways[0, 0] = 1.0
    for rank in twice.tolist():
        ways[1:, rank:] += ways[:-1, : ways.shape[1] - rank].copy()
    return _tails(ways[n], abs(own - mean), mean)


def signed_rank_p(differences: Sequence[float]) -> float:
    """Two-sided p of Wilcoxon's signed-rank test, exact also with ties; zeros are left out.

    >>> signed_rank_p([1.0, 2.0, 3.0, float("inf")])
    0.125
    """
    kept = np.array([value for value in differences if value != 0], dtype=np.float64)
    if not len(kept):
        return 1.0
    twice = np.rint(2 * ranks(np.abs(kept))).astype(np.int64)
    ways = np.zeros(int(twice.sum()) + 1)
    ways[0] = 1.0
    for rank in twice.tolist():
        ways[rank:] += ways[: len(ways) - rank].copy()
    mean = twice.sum() / 2
    return _tails(ways, abs(int(twice[kept > 0].sum()) - mean), mean)


def _tails(ways: Array, distance: float, mean: float) -> float:
    """The share of `ways` (by sum) that lie at least `distance` from `mean`."""
    far = np.abs(np.arange(len(ways)) - mean) >= distance - 1e-9
    return float(min(1.0, ways[far].sum() / ways.sum()))


def ranks(values: Array) -> Array:
    """Ranks from 1, equal values sharing their mean rank.

    >>> ranks(np.array([3.0, 1.0, 3.0])).tolist()
    [2.5, 1.0, 2.5]
    """
    _, own, count = np.unique(values, return_inverse=True, return_counts=True)
    mean: Array = np.cumsum(count) - (count - 1) / 2
    return mean[own.reshape(-1)]


def effect_size(own: Sequence[float], reference: Sequence[float]) -> float:
    """A12 of Vargha and Delaney (2000) for values of which less is better.

    >>> effect_size([1, 2], [2, 3])
    0.875
    """
    ours, theirs = np.array(own, dtype=np.float64)[:, None], np.array(reference, dtype=np.float64)[None]
    return float((ours < theirs).mean() + 0.5 * (ours == theirs).mean())


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Holm's correction for as many comparisons as there are; None stays None.

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


def _ratio(own: Sample, reference: Sample, seed: int) -> tuple[float | None, float | None, float | None]:
    """The ratio of the medians with its 95 % interval by bootstrap over seeds, the same seeds drawn for both."""
    if isinf(own.median) or own.median == 0:
        return None, None, None
    count = max(len(own.values), len(reference.values))
    ours, theirs = (_by_seed(sample, count) for sample in (own, reference))
    shared = min(len(ours), len(theirs))
    drawn = np.random.default_rng(seed).integers(0, shared, (DRAWS, shared))
    with np.errstate(invalid="ignore", divide="ignore"):
        ratios = np.median(theirs[drawn], 1) / np.median(ours[drawn], 1)
    ratios = np.sort(ratios[~np.isnan(ratios)])
    if not len(ratios):
        return reference.median / own.median, None, None
    low, high = np.quantile(ratios, 0.025, method="lower"), np.quantile(ratios, 0.975, method="higher")
    return reference.median / own.median, float(low), float(high)


def _by_seed(sample: Sample, count: int) -> Array:
    return np.repeat(sample.values[:1], count) if sample.deterministic else np.array(sample.values)


def _minus(value: float, other: float) -> float:
    return 0.0 if value == other else value - other
