"""Histograms of values that come block by block, with a range that is not known beforehand."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

MOST_BINS = 64


@dataclass(frozen=True)
class Histogram:
    """Counts of bins `[number · 2^exponent, (number + 1) · 2^exponent)`; bins of two blocks always fit."""

    exponent: int
    counts: Mapping[int, int]

    @classmethod
    def of(cls, values: np.ndarray[Any, Any]) -> Histogram:
        """The finest histogram of at most 64 bins.

        >>> Histogram.of(np.array([0.5, 0.75, 1.0])).counts
        {64: 1, 96: 1, 128: 1}
        """
        values = values[np.isfinite(values)]
        if not len(values):
            return cls(0, {})
        span = float(values.max() - values.min()) or abs(float(values.max())) or 1.0
        exponent = math.ceil(math.log2(span / MOST_BINS))
        numbers, counts = np.unique(np.floor(values / 2.0**exponent).astype(np.int64), return_counts=True)
        found = cls(exponent, dict(zip(numbers.tolist(), counts.tolist(), strict=True)))
        return found if found.bins <= MOST_BINS + 1 else found.coarser(exponent + 1)

    @property
    def bins(self) -> int:
        """The number of bins from the first to the last."""
        return max(self.counts) - min(self.counts) + 1 if self.counts else 0

    def coarser(self, exponent: int) -> Histogram:
        """The same values in wider bins."""
        counts: Counter[int] = Counter()
        for number, count in self.counts.items():
            counts[number >> (exponent - self.exponent)] += count
        return Histogram(exponent, dict(counts))

    def joined(self, other: Histogram) -> Histogram:
        """The histogram of both sets of values."""
        if not self.counts or not other.counts:
            return self if self.counts else other
        exponent = max(self.exponent, other.exponent)
        counts = Counter(self.coarser(exponent).counts) + Counter(other.coarser(exponent).counts)
        found = Histogram(exponent, dict(counts))
        while found.bins > MOST_BINS + 1:
            found = found.coarser(found.exponent + 1)
        return found

    def as_json(self) -> dict[str, Any]:
        """`{"bin_width": …, "counts": {lower bound of a bin: count}}`."""
        width = 2.0**self.exponent
        return {"bin_width": width, "counts": {str(n * width): count for n, count in sorted(self.counts.items())}}
