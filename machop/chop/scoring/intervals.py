"""Computes 95 % confidence intervals of scores."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from chop.tools.logger import get_logger

logger = get_logger(__name__)

Interval = tuple[float, float, float]
"""A value, and the bounds of its 95 % interval, which are no numbers where there is none."""

Z = 1.959964
"""The 97.5 % quantile of the normal distribution."""
RESAMPLES = 200

SHARES = ("accuracy", "accuracy_micro")
"""Metrics that are shares of samples, or means of such, whose interval Wilson's is, or nearly."""

LEAST_ROWS = 10
"""Samples below which means and resamples say nothing of how far a figure may be off."""


def without_interval(value: float) -> Interval:
    """A value without an interval."""
    return value, math.nan, math.nan


def wilson_interval(successes: int, trials: int) -> Interval:
    """A proportion and the bounds of Wilson's 95 % score interval (doi:10.1080/01621459.1927.10502953).

    >>> [round(x, 3) for x in wilson_interval(72, 100)]
    [0.72, 0.625, 0.799]
    """
    share = successes / trials
    centre = (share + Z**2 / (2 * trials)) / (1 + Z**2 / trials)
    half = Z / (1 + Z**2 / trials) * math.sqrt(share * (1 - share) / trials + Z**2 / (4 * trials**2))
    return share, centre - half, centre + half


def mean_interval(values: Tensor) -> Interval:
    """The mean of values `(samples,)` with its normal interval; without one for fewer than 10, or where all are equal.

    The interval of a loss that no sample has below zero does not reach below zero either.
    """
    mean = float(values.mean())
    if bool((values == values[0]).all()):
        return without_interval(mean)
    half = Z * float(values.std()) / math.sqrt(len(values)) if len(values) >= LEAST_ROWS else math.nan
    low = 0.0 if mean < half and bool((values >= 0).all()) else mean - half
    return mean, low, mean + half


def bootstrap_interval(value: float, name: str, samples: int, of_drawn: Callable[[Tensor], float]) -> Interval:
    """A score `value` of `samples` samples with its percentile bootstrap interval of 200 resamples.

    `of_drawn` returns the score of drawn samples, given their numbers; NaN where they have none. There is no interval
    for fewer than 10 samples, where most resamples have no score, or where all have the same: samples that are all
    right say nothing of how many others are wrong.
    """
    if samples < LEAST_ROWS or not math.isfinite(value):
        return without_interval(value)
    generator = torch.Generator().manual_seed(0)
    drawn = [torch.randint(samples, (samples,), generator=generator) for _ in range(RESAMPLES)]
    found = [of_drawn(rows) for rows in drawn]
    values = torch.tensor([one for one in found if math.isfinite(one)]).double()
    if len(values) < RESAMPLES / 2:
        logger.warning("%s: no interval, since it has no value for most resamples of the samples", name)
        return without_interval(value)
    if bool((values == values[0]).all()):
        return without_interval(value)
    low, high = torch.quantile(values, torch.tensor([0.025, 0.975]).double()).tolist()
    return value, low, high
