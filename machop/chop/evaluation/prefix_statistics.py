"""The statistics that a walk over the calibration samples measured, for each prefix of the configurations."""

from __future__ import annotations

from typing import Any

import numpy as np

from chop.evaluation.kept import Kept
from chop.evaluation.values import Pick, Planes, Value, bytes_of, count_of, join

Numbers = np.ndarray[Any, Any]

PICKED_BYTES = 2**24
"""What may be kept of statistics that were looked up: each piece of the scored samples asks for the same."""


class PrefixStatistics:
    """For each stage of statistics those of every prefix of sorted configurations, each once where they are shared.

    The prefixes that a stage sees are those that end with its level.
    """

    def __init__(self) -> None:
        self._values: dict[int, list[Value]] = {}
        self._counts: dict[int, int] = {}
        self._numbers: dict[int, list[Numbers]] = {}
        self._joined: dict[int, tuple[Value, Numbers]] = {}
        self._picked: Kept[tuple[Value, Numbers]] = Kept(PICKED_BYTES)

    def add(self, stage: int, value: Value, numbers: Numbers) -> None:
        """Keep the statistics of the next prefixes: `numbers` says which of `value` each has.

        Prefixes come in ascending order, all of them, each once.
        """
        count = self._counts.get(stage, 0)
        self._values.setdefault(stage, []).append(value)
        self._numbers.setdefault(stage, []).append(numbers + count)
        self._counts[stage] = count + count_of(value)

    def of(self, stage: int, start: int, places: Numbers) -> Value:
        """The statistics of the prefixes `start + places`, in memory of their own.

        The same array of `places` need not be looked up again.
        """
        key = (stage, start, id(places))
        if (known := self._picked.get(key)) is None:
            found = self._of(stage, start + places)
            known = self._picked.put(key, (found, places), bytes_of(found) + places.nbytes)
        return known[0]

    def _of(self, stage: int, prefixes: Numbers) -> Value:
        if stage not in self._joined:
            self._joined[stage] = join(self._values.pop(stage)), np.concatenate(self._numbers.pop(stage))
        value, numbers = self._joined[stage]
        found = Pick(numbers[prefixes]).of(value)
        return Planes(found.tensor.contiguous()) if isinstance(found, Planes) else found
