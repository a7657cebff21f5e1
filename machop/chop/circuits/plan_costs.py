"""Sums over the stages of a network, for all configurations of a product space at once.

What a stage costs depends on the ranges that come in, and so on earlier choices, and on which results are used, and so
on later ones. Few of these differ: most values fill the format that they are rounded to. So each distinct range and
each distinct mask of used elements has a number, and a table for each step says what comes out and what it costs. A
table's entry is made when a configuration first needs it; all configurations together are a few look-ups for each step.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from copy import copy
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from chop.circuits.liveness import Mask, read_by
from chop.circuits.network_costs import StageCosts
from chop.circuits.stages import Stage
from chop.circuits.steps import Step
from chop.circuits.values import Range
from chop.errors import CircuitError

Numbers = NDArray[np.int64]
Item = TypeVar("Item")
IMPOSSIBLE = 0
"""The number of what follows from an alternative without a circuit."""


class Interned(Generic[Item]):
    """Items by number; equal ones have the same."""

    def __init__(self) -> None:
        self.items: list[Any] = [None]
        self._numbers: dict[Hashable, int] = {}

    def number(self, key: Hashable, item: Item) -> int:
        """The number of an item whose content is `key`."""
        if key not in self._numbers:
            self._numbers[key] = len(self.items)
            self.items.append(item)
        return self._numbers[key]

    def __getitem__(self, number: int) -> Item:
        found: Item = self.items[number]
        return found


class _Table:
    """Rows of numbers by key; each is computed when it is first asked for."""

    def __init__(self, width: int) -> None:
        self.rows = np.zeros((0, width))
        self._place: dict[int, int] = {}

    def look_up(self, keys: Numbers, make: Callable[[int], Sequence[float]]) -> NDArray[np.float64]:
        """The rows of `keys` `(configurations,)`, as `(configurations, width)`."""
        distinct, own = np.unique(keys, return_inverse=True)
        new = [make(key) for key in distinct.tolist() if key not in self._place]
        self._place |= {
            key: len(self.rows) + n for n, key in enumerate(k for k in distinct.tolist() if k not in self._place)
        }
        if new:
            self.rows = np.concatenate([self.rows, np.array(new, dtype=np.float64)])
        places = np.array([self._place[key] for key in distinct.tolist()])
        found: NDArray[np.float64] = self.rows[places][own.reshape(-1)]
        return found


class PlanCosts:
    """The sums of `costs` of all stages, for configurations given as codes; NaN where a network has no circuit."""

    def __init__(self, steps: Sequence[Step], costs: StageCosts, width: int) -> None:
        self.steps = steps
        self.costs = costs
        self.width = width
        self._ranges: Interned[Range] = Interned()
        self._masks: Interned[Mask] = Interned()
        self._forward = [_Table(1) for _ in steps]
        self._backward = [_Table(len(step.sources) + width) for step in steps]
        self._joined = _Table(1)
        self._kept: dict[tuple[Any, ...], dict[str, Range]] = {}

    def with_costs(self, costs: StageCosts) -> PlanCosts:
        """The same network with other costs of its stages, as many; it shares the ranges that are known."""
        found = copy(self)
        found.costs = costs
        found._backward = [_Table(len(step.sources) + self.width) for step in self.steps]
        return found

    def sums(self, codes: Numbers) -> NDArray[np.float64]:
        """The sums `(configurations, width)` of configurations `(configurations, axes)`."""
        ranges: dict[str, Numbers] = {}
        for place, step in enumerate(self.steps):
            keys, parts = self._keys(step, codes, [ranges[source] for source in step.sources])
            found = self._forward[place].look_up(keys, lambda key: [self._range(step, parts(key))])  # noqa: B023
            ranges[step.name] = found[:, 0].astype(np.int64)
        last = self.steps[-1].name
        masks = {last: self._look_up_masks(ranges[last])}
        total = np.zeros((len(codes), self.width))
        for place, step in reversed(list(enumerate(self.steps))):
            if step.name not in masks:  # nothing reads it, as a ReLU that a rounding has taken over
                continue
            given = [ranges[source] for source in step.sources]
            keys, parts = self._keys(step, codes, [*given, masks[step.name]])
            found = self._backward[place].look_up(keys, lambda key: self._row(step, parts(key)))  # noqa: B023
            total += found[:, len(given) :]
            for source, own in zip(step.sources, found[:, : len(given)].astype(np.int64).T, strict=True):
                masks[source] = own if source not in masks else self._both(masks[source], own)
        return total

    def _keys(
        self, step: Step, codes: Numbers, others: Sequence[Numbers]
    ) -> tuple[Numbers, Callable[[int], list[int]]]:
        """One number for each combination of a choice and of others; and the function that takes it apart."""
        choice = np.zeros(len(codes), np.int64) if step.axis is None else codes[:, step.axis].astype(np.int64)
        radix = max(len(self._ranges.items), len(self._masks.items), len(step.choices), 2**20)
        keys = choice
        for own in others:
            keys = keys * radix + own

        def parts(key: int) -> list[int]:
            found = []
            for _ in others:
                key, own = divmod(key, radix)
                found.append(own)
            return [key, *reversed(found)]

        return keys, parts

    def _range(self, step: Step, parts: list[int]) -> int:
        choice, *given = parts
        stages = step.choices[choice]
        if stages is None or IMPOSSIBLE in given:
            return IMPOSSIBLE
        try:
            own = self._all_ranges(step, choice, given)[stages[-1].name]
        except CircuitError:  # numbers that are too wide
            return IMPOSSIBLE
        return self._ranges.number(_content(own.low, own.high, own.zeros, own.frac), own)

    def _all_ranges(self, step: Step, choice: int, given: Sequence[int]) -> dict[str, Range]:
        """The ranges that come into a step and of all its stages."""
        key = (step.name, choice, *given)
        if key not in self._kept:
            self._kept[key] = self._computed_ranges(step, step.choices[choice] or (), given)
        return dict(self._kept[key])

    def _computed_ranges(self, step: Step, stages: Sequence[Stage], given: Sequence[int]) -> dict[str, Range]:
        found = {source: self._ranges[number] for source, number in zip(step.sources, given, strict=True)}
        for stage in stages:
            found[stage.name] = stage.range_of(*(found[source] for source in stage.sources))
        return found

    def _row(self, step: Step, parts: list[int]) -> list[float]:
        """The masks of a step's sources, and its costs, for its choice, the sources' ranges and its result's mask."""
        choice, *given, mask = parts
        stages = step.choices[choice]
        if stages is None or IMPOSSIBLE in given or mask == IMPOSSIBLE:
            return [IMPOSSIBLE] * len(given) + [np.nan] * self.width
        ranges = self._all_ranges(step, choice, given)
        own = {stage.name: stage for stage in stages}
        live = {name: np.zeros(known.shape, dtype=bool) for name, known in ranges.items()}
        live[stages[-1].name] = self._masks[mask]
        total = np.zeros(self.width)
        for stage in reversed(stages):
            read = tuple(ranges[source] for source in stage.sources)
            source = own.get(stage.sources[0]) if stage.sources else None
            total += self.costs(stage, source, read, live[stage.name])
            for name, seen in zip(stage.sources, read_by(stage, read, live[stage.name]), strict=True):
                live[name] = live[name] | seen
        return [*(self._number_of_mask(live[source]) for source in step.sources), *total]

    def _look_up_masks(self, ranges: Numbers) -> Numbers:
        """The masks of outputs with these ranges: all that vary."""
        distinct, own = np.unique(ranges, return_inverse=True)
        masks = [
            IMPOSSIBLE if number == IMPOSSIBLE else self._number_of_mask(~self._ranges[number].is_constant)
            for number in distinct.tolist()
        ]
        return np.array(masks, np.int64)[own.reshape(-1)]

    def _both(self, first: Numbers, second: Numbers) -> Numbers:
        """Masks of what two readers use."""
        radix = 2**31

        def make(key: int) -> list[float]:
            one, other = divmod(key, radix)
            is_possible = IMPOSSIBLE not in (one, other)
            return [self._number_of_mask(self._masks[one] | self._masks[other]) if is_possible else IMPOSSIBLE]

        return self._joined.look_up(first * radix + second, make)[:, 0].astype(np.int64)

    def _number_of_mask(self, mask: Mask) -> int:
        return self._masks.number(_content(mask), mask)


def _content(*parts: Any) -> tuple[Any, ...]:
    arrays = [np.ascontiguousarray(part) for part in parts]
    return tuple((own.shape, own.tobytes()) for own in arrays)
