"""Walks through configurations depth first: shared prefixes are computed once, and little is held in memory."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from chop.evaluation.kept import Kept
from chop.evaluation.operations import Operation
from chop.evaluation.prefix_statistics import PrefixStatistics
from chop.evaluation.program import Program, Stage
from chop.evaluation.values import Pick, Value, bytes_of, count_of, join

Numbers = np.ndarray[Any, Any]
Codes = Numbers
"""Configurations, `(configurations, axes)`: the number of the alternative at each axis."""

Live = dict[int, tuple[Value, Numbers]]
"""Stages that are still to be read: their values, and for each prefix which of them is its own."""

Emit = Callable[[int, int, Value, Numbers], None]
"""Takes the output of configurations `first` to `last - 1`: the values, and which of them each configuration has."""

CACHE_BYTES = 3 * 2**20
"""How great the values of a stage should be at the most, so that the next stage finds them in the cache; and not much
less, since each step costs some fraction of a millisecond whatever its size."""
PATTERN_BYTES = 2**24
"""What the recipes for patterns of configurations that were met may take, and as much the picks."""

LARGEST_KEY = 2**62
FIRST = np.zeros(1, dtype=np.int64)
"""The place of a single configuration."""


@dataclass(frozen=True)
class _Group:
    """The configurations of a stage that have one choice, and where they stand in each input (None: as they are)."""

    choice: Any
    picks: tuple[Pick | None, ...]

    @property
    def is_all(self) -> bool:
        """Whether they are all configurations of each input, in order."""
        return all(pick is None for pick in self.picks)

    def of(self, inputs: Sequence[Value]) -> list[Value]:
        """The inputs of these configurations."""
        return [value if pick is None else pick.of(value) for pick, value in zip(self.picks, inputs, strict=True)]


@dataclass(frozen=True)
class _Recipe:
    """How a stage is computed: every choice on all of its input, or group by group; `numbers` are the results' own."""

    groups: tuple[_Group, ...]
    is_product: bool
    numbers: Numbers
    places: Numbers
    """Of each result the first of the prefixes that have it."""

    def run(self, operation: Operation, inputs: Sequence[Value], is_last: bool) -> Value:
        if is_last and len(self.groups) == 1 and self.groups[0].is_all:
            return operation.on_last_reading(self.groups[0].choice, inputs)
        if self.is_product:
            return operation.every([group.choice for group in self.groups], inputs)
        return join([operation.one(group.choice, group.of(inputs)) for group in self.groups])


class _Prefixes:
    """The distinct prefixes of sorted configurations.

    `first[n]` says where those of length n begin, and ends with the number of configurations; `of[n]` says which prefix
    each configuration has.
    """

    def __init__(self, codes: Codes) -> None:
        count, axes = codes.shape
        is_new = np.ones((count, axes + 1), dtype=bool)
        is_new[1:, 0] = False
        np.logical_or.accumulate(codes[1:] != codes[:-1], axis=1, out=is_new[1:, 1:])
        self.of = [np.cumsum(is_new[:, length]) - 1 for length in range(axes + 1)]
        self.first = [np.append(np.flatnonzero(is_new[:, length]), count) for length in range(axes + 1)]

    def below(self, length: int, first: int, last: int) -> tuple[int, int]:
        """The prefixes of length + 1 that continue prefixes `first` to `last - 1`."""
        longer = self.of[length + 1]
        return int(longer[self.first[length][first]]), int(longer[self.first[length][last] - 1]) + 1


class Walk:
    """Computes a program for sets of configurations.

    `memory` is how many bytes the values of all levels may take together, `at_once` how many bytes of a stage are
    computed in one step.
    """

    def __init__(self, program: Program, memory: int = 2**28, at_once: int = CACHE_BYTES) -> None:
        self.program = program
        self.memory = memory
        self.at_once = at_once
        self._stages = [program.at(level) for level in range(program.levels)]
        decided = [[program.stages[number].axis for number in numbers] for numbers in self._stages]
        self._axes = [sorted({axis for axis in own if axis is not None}) for own in decided]
        self._statistics = frozenset(program.statistics)
        self._read_last = self._last_readers()
        self._may_overwrite = {number: self._reads_only_what_is_its_own(number) for number in self._read_last}
        self._patterns: Kept[list[_Recipe]] = Kept(PATTERN_BYTES)
        self._picks: Kept[tuple[Pick, Numbers]] = Kept(PATTERN_BYTES)
        self._bytes_per_child: list[float | None] = [None] * program.levels
        self._children_per_parent = [0.0] * program.levels
        self._widest_per_parent: list[float | None] = [None] * program.levels
        self._rows = 1
        self._known: PrefixStatistics | None = None
        self._found: PrefixStatistics | None = None

    def measured(self, codes: Codes, fixed: Mapping[int, Value], rows: int) -> PrefixStatistics:
        """The statistics of `codes`, sorted and without repeats, on calibration samples."""
        self._found = PrefixStatistics()
        self.run(codes, fixed, lambda first, last, value, numbers: None, rows)
        found, self._found = self._found, None
        return found

    def run(
        self,
        codes: Codes,
        fixed: Mapping[int, Value],
        emit: Emit,
        rows: int,
        statistics: PrefixStatistics | None = None,
    ) -> None:
        """Compute the output for `codes`, sorted and without repeats.

        `fixed` are the values before any choice, of `rows` rows; `statistics` are those of the same codes, if any are
        measured.
        """
        self._expect(rows)
        self._known = statistics
        live: Live = {number: (value, FIRST) for number, value in fixed.items()}
        self._descend(_Prefixes(codes), codes, 0, (0, 1), live, emit)

    def _expect(self, rows: int) -> None:
        """What is known of the sizes of values was learned with another number of rows."""
        ratio, self._rows = rows / self._rows, rows
        for sizes in (self._bytes_per_child, self._widest_per_parent):
            sizes[:] = [None if size is None else size * ratio for size in sizes]

    def _descend(
        self, prefixes: _Prefixes, codes: Codes, level: int, span: tuple[int, int], live: Live, emit: Emit
    ) -> None:
        """Go on from the prefixes in `span`, some at a time."""
        first, last = span
        if level == self.program.levels:
            begin, end = (int(prefixes.first[level][place]) for place in span)
            value, numbers = live[self.program.output]
            emit(begin, end, value, numbers[prefixes.of[level][begin:end] - first])
            return
        if last - first == 1 and prefixes.first[level][last] - prefixes.first[level][first] == 1:
            begin = int(prefixes.first[level][first])
            value = self._alone(level, prefixes, begin, codes[begin], live)
            emit(begin, begin + 1, value, FIRST)
            return
        step = self._parents_at_a_time(level)
        step = -(-(last - first) // -(-(last - first) // step))  # parts of about the same size
        for start in range(first, last, step):
            stop = min(last, start + step)
            part = live if (start, stop) == span else self._narrowed(live, start - first, stop - first)
            self._continue(prefixes, codes, level, (start, stop), part, emit)

    def _parents_at_a_time(self, level: int) -> int:
        """So many that their values fit `at_once`, and those of the level below, which then need not be cut up."""
        widest = self._widest_per_parent[level]
        if widest is None:
            return 1
        below = self._widest_per_parent[level + 1] if level + 1 < self.program.levels else None
        return max(1, int(self.at_once / max(widest, (below or 0.0) * self._children_per_parent[level], 1.0)))

    def _continue(
        self, prefixes: _Prefixes, codes: Codes, level: int, span: tuple[int, int], live: Live, emit: Emit
    ) -> None:
        """Compute a level for all continuations of the prefixes in `span`, as many at a time as memory allows."""
        start, end = prefixes.below(level, *span)
        while start < end:
            stop = min(end, start + self._children_at_a_time(level))
            firsts = prefixes.first[level + 1][start:stop]
            parents = prefixes.of[level][firsts] - span[0]
            longer = self._compute(level, start, parents, codes[firsts], live)
            self._descend(prefixes, codes, level + 1, (start, stop), longer, emit)
            start = stop

    def _children_at_a_time(self, level: int) -> int:
        """So many that the values of all levels fit the memory; one, as long as nothing is known of their size."""
        each = self._bytes_per_child[level]
        return 1 if each is None else max(1, int(self.memory / self.program.levels / max(each, 1.0)))

    def _narrowed(self, live: Live, first: int, last: int) -> Live:
        """What prefixes `first` to `last - 1` need of the live values, numbered anew."""
        return {number: self._of_span(value, own[first:last]) for number, (value, own) in live.items()}

    def _of_span(self, value: Value, numbers: Numbers) -> tuple[Value, Numbers]:
        key = numbers.tobytes()
        if (known := self._picks.get(key)) is None:
            needed, own = np.unique(numbers, return_inverse=True)
            known = self._picks.put(key, (Pick(needed), own.reshape(-1)), 3 * numbers.nbytes)
        pick, own = known
        return pick.of(value), own

    def _compute(self, level: int, start: int, parents: Numbers, alternatives: Numbers, live: Live) -> Live:
        """The values of a level for the prefixes from `start` on that continue `parents`."""
        stages = self._stages[level]
        found: Live = {number: (value, numbers[parents]) for number, (value, numbers) in live.items()}
        decided = alternatives[:, self._axes[level]]
        key = (level, decided.tobytes(), *((numbers.tobytes(), count_of(value)) for value, numbers in found.values()))
        recipes = self._patterns.get(key)
        if recipes is None:
            made = self._recipes(stages, alternatives, found)
            recipes = self._patterns.put(key, made, 8 * len(parents) * (3 * len(made) + len(found)))
        widest, total = 0, 0
        for number, recipe in zip(stages, recipes, strict=True):
            stage = self.program.stages[number]
            is_statistic = number in self._statistics
            value = self._looked_up(number, start, recipe.places) if is_statistic else None
            if value is None:
                inputs = [found[source][0] for source in stage.inputs]
                value = recipe.run(stage.operation, inputs, self._may_overwrite[number])
                if is_statistic:
                    self._note(number, value, recipe.numbers)
            size = bytes_of(value)
            widest, total = max(widest, size), total + size
            found[number] = (value, recipe.numbers)
            for source in self._read_last[number]:
                del found[source]  # so that its memory, still in the cache, is there for the next value
        self._widest_per_parent[level] = widest / (int(parents[-1]) + 1)
        self._children_per_parent[level] = len(parents) / (int(parents[-1]) + 1)
        self._bytes_per_child[level] = total / len(parents)
        return found

    def _looked_up(self, number: int, start: int, places: Numbers) -> Value | None:
        """The statistics of the prefixes `start + places`, where they were measured before."""
        return None if self._known is None else self._known.of(number, start, places)

    def _note(self, number: int, value: Value, numbers: Numbers) -> None:
        """Keep the statistics of the next prefixes, where these are what is measured."""
        if self._found is not None:
            self._found.add(number, value, numbers)

    def _alone(self, level: int, prefixes: _Prefixes, begin: int, code: Numbers, live: Live) -> Value:
        """The output for the one configuration that there is from `level` on: nothing is shared or picked."""
        values = {number: self._of_span(value, numbers)[0] for number, (value, numbers) in live.items()}
        for deeper in range(level, self.program.levels):
            widest, total = 0, 0
            for number in self._stages[deeper]:
                stage = self.program.stages[number]
                choice = stage.choices[0 if stage.choice_ids is None else int(stage.choice_ids[code[stage.axis]])]
                inputs = [values[source] for source in stage.inputs]
                is_statistic = number in self._statistics
                known = self._looked_up(number, int(prefixes.of[deeper + 1][begin]), FIRST) if is_statistic else None
                if known is not None:
                    found = known
                elif self._may_overwrite[number]:
                    found = stage.operation.on_last_reading(choice, inputs)
                else:
                    found = stage.operation.one(choice, inputs)
                if is_statistic:
                    self._note(number, found, FIRST)
                size = bytes_of(found)
                widest, total = max(widest, size), total + size
                values[number] = found
                for source in self._read_last[number]:
                    del values[source]
            if self._bytes_per_child[deeper] is None:
                self._widest_per_parent[deeper], self._bytes_per_child[deeper] = float(widest), float(total)
                self._children_per_parent[deeper] = 1.0
        return values[self.program.output]

    def _last_readers(self) -> dict[int, list[int]]:
        """For each stage the values that nothing after it reads."""
        last: dict[int, int] = {}
        for number in (number for stages in self._stages for number in stages):
            last |= dict.fromkeys(self.program.stages[number].inputs, number)
        last.pop(self.program.output, None)
        found: dict[int, list[int]] = {number: [] for stages in self._stages for number in stages}
        for source, reader in last.items():
            found[reader].append(source)
        return found

    def _reads_only_what_is_its_own(self, number: int) -> bool:
        """Whether a stage is the only reader of its inputs, made on the same level and nowhere else held.

        Statistics count neither as inputs nor as readers: they are not written on, and hold nothing of what they read.
        """
        stages = self.program.stages
        readers = [stage.inputs for reader, stage in enumerate(stages) if reader not in self._statistics]
        return all(
            stages[source].operation.is_fresh
            and stages[source].level == stages[number].level
            and source in self._read_last[number]
            and sum(inputs.count(source) for inputs in readers) == 1
            for source in stages[number].inputs
            if source not in self._statistics
        )

    def _recipes(self, stages: Sequence[int], alternatives: Numbers, live: Live) -> list[_Recipe]:
        known = {number: (own, count_of(value)) for number, (value, own) in live.items()}
        recipes = []
        for number in stages:
            stage = self.program.stages[number]
            recipe, count = _recipe(stage, alternatives, [known[source] for source in stage.inputs])
            recipes.append(recipe)
            known[number] = recipe.numbers, count
        return recipes


def _recipe(stage: Stage, alternatives: Numbers, inputs: Sequence[tuple[Numbers, int]]) -> tuple[_Recipe, int]:
    """The distinct combinations of choice and inputs, by choice, which of them each prefix has, and how many there are.

    `inputs` say which value each prefix has, and how many are held.
    """
    ids = np.zeros(len(alternatives), dtype=np.int64)
    if stage.choice_ids is not None:
        ids = stage.choice_ids[alternatives[:, stage.axis]]
    first, own = _distinct(ids, inputs)
    chosen = ids[first]
    bounds = np.append(np.flatnonzero(np.append(True, chosen[1:] != chosen[:-1])), len(chosen))
    groups = tuple(
        _Group(
            stage.choices[int(chosen[start])],
            tuple(_pick(numbers[first[start:stop]], count) for numbers, count in inputs),
        )
        for start, stop in pairwise(bounds)
    )
    is_product = len(inputs) == 1 and all(group.is_all for group in groups)
    return _Recipe(groups, is_product, own, first), len(first)


def _distinct(ids: Numbers, inputs: Sequence[tuple[Numbers, int]]) -> tuple[Numbers, Numbers]:
    """The distinct combinations of a choice and of inputs, in ascending order.

    Returns the place where each comes first, and the number of the combination that each prefix has.
    """
    keys, size = ids, int(ids.max()) + 1
    for numbers, count in inputs:
        if size * count > LARGEST_KEY:  # many inputs: numbered anew, in the same order
            _, keys = np.unique(keys, return_inverse=True)
            keys = keys.reshape(-1)
            size = int(keys.max()) + 1
        keys, size = keys * count + numbers, size * count
    _, first, own = np.unique(keys, return_index=True, return_inverse=True)
    return first, own.reshape(-1)


def _pick(numbers: Numbers, count: int) -> Pick | None:
    """How to take `numbers` of `count` configurations; None where these are all of them in order."""
    if len(numbers) == count and bool((numbers == np.arange(count)).all()):
        return None
    return Pick(numbers)
