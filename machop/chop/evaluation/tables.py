"""Computes metrics that add up over nodes for many configurations, from tables, without running the network."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from chop.evaluation.measures import Scores
from chop.evaluation.program import Axis
from chop.evaluation.walk import Codes
from chop.formats import Format

Terms = Callable[[Any, Mapping[str, Format]], tuple[float, ...]]
Combine = Callable[[tuple[Any, ...]], Mapping[str, Any]]


def added_up(rows: Iterable[Sequence[float]], greatest: Collection[int]) -> tuple[float, ...]:
    """The sums of columns over rows, of the columns `greatest` their greatest value, 0 at the least.

    >>> added_up([(1, 2), (3, 4)], {1})
    (4, 4)
    """
    columns = zip(*rows, strict=True)
    return tuple(max(0, *own) if number in greatest else sum(own) for number, own in enumerate(columns))


class CostTable:
    """`terms(cost, formats)` of every node under every alternative; `combine` makes metrics of their sums.

    Of the terms in the places `greatest` the greatest counts in place of the sum. Sums go node by node in the order of
    `costs`, as a loop over nodes does, so that they equal its sums to the bit. A configuration for which `combine`
    raises has NaN for the metrics `names`.
    """

    def __init__(
        self,
        terms: Terms,
        combine: Combine,
        costs: Mapping[str, Any],
        axes: Sequence[Axis],
        greatest: Collection[int] = (),
        names: Collection[str] = (),
    ) -> None:
        self.names = tuple(names)
        self.combine = combine
        self.greatest = greatest
        self.axes = len(axes)
        axis_of = {node: number for number, axis in enumerate(axes) for choice in axis for node in choice}
        self._columns: list[tuple[int | None, np.ndarray[Any, Any]]] = []
        for node, cost in costs.items():
            number = axis_of.get(node)
            choices = [{}] if number is None else [choice.get(node, {}) for choice in axes[number]]
            table = np.array([terms(cost, formats) for formats in choices], dtype=np.float64)
            self._columns.append((number, table))

    def scores(self, codes: Codes) -> Scores:
        """The metrics of configurations `(configurations, axes)`."""
        width = self._columns[0][1].shape[1]
        sums = [np.zeros(len(codes)) for _ in range(width)]
        for number, table in self._columns:
            for column in range(width):
                own = table[0, column] if number is None else table[codes[:, number], column]
                sums[column] = np.maximum(sums[column], own) if column in self.greatest else sums[column] + own
        return self._combined(sums)

    def combines_alike(self, combine: Combine) -> bool:
        """Whether `combine` makes the same metrics of the first configuration as the table's own."""
        sums = added_up([table[0].tolist() for _, table in self._columns], self.greatest)
        try:
            return _are_alike(combine(sums), self.combine(sums))
        except Exception:  # whatever it lacks
            return False

    def _combined(self, sums: Sequence[np.ndarray[Any, Any]]) -> Scores:
        """All rows at once where `combine` can do that, which its results for a few rows show; else row by row."""
        few = min(4, len(sums[0]))
        wanted = [self._of_one(tuple(float(total[row]) for total in sums)) for row in range(few)]
        try:
            found = {name: np.asarray(values, dtype=np.float64) for name, values in self.combine(tuple(sums)).items()}
            found = {name: np.broadcast_to(values, len(sums[0])) for name, values in found.items()}
            if all(_are_alike({name: found[name][row] for name in one}, one) for row, one in enumerate(wanted)):
                return found
        except Exception:  # a runner's own function, written for numbers
            pass
        rows = [self._of_one(tuple(map(float, row))) for row in zip(*sums, strict=True)]
        return {name: np.array([row[name] for row in rows], dtype=np.float64) for name in rows[0]}

    def _of_one(self, sums: tuple[float, ...]) -> Mapping[str, Any]:
        """The metrics of one configuration; NaN where `combine` raises."""
        try:
            return self.combine(sums)
        except Exception:  # a runner's own function; who asks about this configuration alone is told why
            if not self.names:
                raise
            return dict.fromkeys(self.names, math.nan)


def _are_alike(first: Mapping[str, Any], second: Mapping[str, Any]) -> bool:
    """Whether two rows of metrics are equal; NaN equals itself."""
    return first.keys() == second.keys() and all(
        value == second[name] or bool(np.isnan(value) and np.isnan(second[name])) for name, value in first.items()
    )
