"""Bounds a metric on all samples from its values on the first of them.

The first n of N fixed rows count as a simple random sample without replacement (within each class, where classes weigh
alike): rows must be in no order. Variances carry the finite-population correction 1 - n/N (Serfling 1974,
doi:10.1214/aos/1176342611; Cochran, Sampling Techniques, 1977, 2.6): with all rows seen a bound is the metric itself.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from statistics import NormalDist

import torch
from torch import Tensor

UNKNOWN = (-math.inf, math.inf)


@dataclass(frozen=True)
class SampleValues:
    """A metric that is a mean over samples: `values` `(samples,)`; `is_hit`: each is 0 or 1.

    With `classes` it is the mean over so many classes of the mean over each one's samples (as macro accuracy is). With
    `weights_of`, which returns from targets how much each sample counts (its number of tokens, say), it is the sum of
    the values over the sum of these weights. `transform` is what makes the metric of that mean; it must be monotone.
    """

    values: Tensor
    is_hit: bool = False
    classes: int = 0
    weights_of: Callable[[Tensor], Tensor] | None = None
    transform: Callable[[float], float] | None = None


@dataclass(frozen=True)
class _Stratum:
    """Rows that are drawn from alike: their mean so far, the centre and variance of what the others' mean may be."""

    mean: Tensor
    centre: Tensor
    variance: Tensor


def bounds(seen: SampleValues, targets: Tensor, error: float, known: SampleValues | None = None) -> tuple[float, float]:
    """The interval that contains a metric on all samples; each side is wrong with probability `error`.

    `targets` `(rows,)` are those of all rows. With `known`, the values of another network on all rows, what is bounded
    is the difference on the same rows, which varies far less than either since both find the same rows hard.

    - Hits of one network: centre and variance of Agresti and Coull, which hold Wilson's interval
      (doi:10.1214/ss/1009213286); their differences: Agresti and Min, a pseudo-count in each cell of the paired table
      (Statistics in Medicine 24, 2005, 729-740). Both keep a variance where all rows seen agree.
    - Classes are strata, as in `chop.scoring.class_hits`: their variances add up; they share the pseudo-counts, which
      all pull the same way. A class of which nothing was seen says nothing.
    - Any other mean (the loss): normal with the sample's variance, the quantile widened towards Student's t and the
      centre shifted by the sample's skewness (Johnson, J. Am. Stat. Assoc. 73, 1978, 536-544). It rests on the central
      limit theorem, so on some dozens of rows at the least.
    """
    if seen.weights_of is not None:
        mean_weight = seen.weights_of(targets).double().mean()
        seen, known = _over(seen, mean_weight), known and _over(known, mean_weight)
    low, high = _mean_bounds(seen, targets, error, known)
    return (low, high) if seen.transform is None else (seen.transform(low), seen.transform(high))


def _over(weighted: SampleValues, mean_weight: Tensor) -> SampleValues:
    """Values whose mean over all samples is the metric, from those whose sum counts by weight."""
    return replace(weighted, values=weighted.values.double() / mean_weight, weights_of=None)


def _mean_bounds(seen: SampleValues, targets: Tensor, error: float, known: SampleValues | None) -> tuple[float, float]:
    """The bounds of a mean over samples, or over classes."""
    labels = targets.long() if seen.classes else torch.zeros(len(targets), dtype=torch.long, device=targets.device)
    rows, strata = len(seen.values), max(1, seen.classes)
    drawn = torch.bincount(labels[:rows], minlength=strata)
    total = torch.bincount(labels, minlength=strata)
    if len(total) > strata or int(drawn.min()) < (1 if seen.is_hit else 2):
        return UNKNOWN
    z = NormalDist().inv_cdf(1 - error)
    found = (_hits if seen.is_hit else _values)(seen.values, known, labels[:rows], drawn.double(), z)
    unseen = 1 - drawn.double() / total.double()
    centre = float((unseen * found.centre + (1 - unseen) * found.mean).mean())
    half = z * math.sqrt(float((unseen * found.variance).sum())) / strata
    centre += 0.0 if known is None else float((_sums(known.values, labels, strata) / total).mean())
    return centre - half, centre + half


def _sums(values: Tensor, labels: Tensor, strata: int) -> Tensor:
    """The sum of values by label, `(strata,)`."""
    return torch.bincount(labels, weights=values.double(), minlength=strata)


def _hits(seen: Tensor, known: SampleValues | None, labels: Tensor, drawn: Tensor, z: float) -> _Stratum:
    strata = len(drawn)
    pseudo = z**2 / strata
    if known is None:
        right = _sums(seen, labels, strata)
        rows = drawn + pseudo
        share = (right + pseudo / 2) / rows
        return _Stratum(right / drawn, share, share * (1 - share) / rows)
    difference = seen.double() - known.values[: len(seen)].double()
    better, worse = (_sums((sign * difference).clamp(min=0), labels, strata) for sign in (1, -1))
    rows = drawn + pseudo / 2
    centre = (better - worse) / rows
    variance = ((better + worse + pseudo / 4) / rows - centre**2) / rows
    return _Stratum((better - worse) / drawn, centre, variance)


def _values(seen: Tensor, known: SampleValues | None, labels: Tensor, drawn: Tensor, z: float) -> _Stratum:
    values = seen.double() if known is None else seen.double() - known.values[: len(seen)].double()
    strata = len(drawn)
    mean = _sums(values, labels, strata) / drawn
    second, third = (_sums((values - mean[labels]) ** power, labels, strata) / drawn for power in (2, 3))
    skewed = third / second.clamp(min=torch.finfo(torch.float64).tiny) * (1 + 2 * z**2) / (6 * drawn)
    widened = 1 + (z**2 + 1) / (4 * (drawn - 1))  # Student's t over the normal quantile, to first order
    return _Stratum(mean, mean + skewed, second / (drawn - 1) * widened**2)
