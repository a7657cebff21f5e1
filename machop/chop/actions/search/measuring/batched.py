"""Measures many points of a space in one call: shared prefixes are computed once, costs come from tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from math import prod

import numpy as np

from chop.actions.search.measuring.plans import ChosenPlans
from chop.actions.search.measuring.runner_set import RunnerSet
from chop.actions.search.measuring.subject import Samples, Subject
from chop.actions.search.search_space.codes import codes_of_range
from chop.actions.search.strategies.runners.base import row_key
from chop.actions.search.strategies.runners.protocols import PlanTable, PreparedTable
from chop.errors import GraphError
from chop.evaluation.evaluator import Evaluator
from chop.evaluation.measures import Measure, Scores
from chop.evaluation.walk import Codes
from chop.executors import Jobs
from chop.tools.logger import get_logger
from chop.tools.threads import one_thread

logger = get_logger(__name__)

MOST_CONFIGURATIONS = 20_000
"""Configurations that are measured together at the most: a fraction of a second of a small network, so that progress
is seen."""

BLOCK_MACS = 4 * 10**10
"""Multiply-accumulates of a block of a large network at the most: seconds of one core."""

DRAWN_POINTS = 1_000
"""Points that tell what slow work all points of a space rest on."""

BLOCK_SECONDS = 2.0
"""Seconds of a block that are spent in functions which are called for each point."""


@dataclass
class BatchedMeasurement:
    """Measures many points with `evaluators` for outputs and `tables` for costs.

    `sizes` are those of the axes, `macs` the MACs of each axis's nodes on all samples.

    It holds all that it needs, so that it can be sent to another process.
    """

    sizes: tuple[int, ...]
    macs: tuple[int, ...]
    evaluators: list[tuple[Evaluator, list[Measure]]]
    tables: list[PlanTable]
    memory: int

    def scores(self, codes: Codes) -> Scores:
        """The metrics of configurations in any order."""
        distinct, own = np.unique(codes, axis=0, return_inverse=True)
        own = own.reshape(-1)
        found: Scores = {}
        for start in range(0, len(distinct), self.most_together):
            part = self._sorted_scores(distinct[start : start + self.most_together])
            found = {name: np.concatenate([found[name], part[name]]) if found else part[name] for name in part}
        return {name: values[own] for name, values in found.items()}

    def scores_of_range(self, first: int, stop: int) -> Scores:
        """The metrics of points `first` to `stop - 1`; at most `most_together` in one call."""
        return self._sorted_scores(codes_of_range(first, stop, self.sizes))

    @property
    def calls_functions(self) -> bool:
        """Whether a function is called for each point, so that its time is unknown beforehand."""
        return any(measure.calls_functions for _, measures in self.evaluators for measure in measures)

    def block_size(self) -> int:
        """The number of points in a block of an exhaustive search.

        `most_together`, or fewer if a function that is called for each point is slow. That is timed: ask once.
        """
        seconds = sum(own.seconds_per_configuration() for _, measures in self.evaluators for own in measures)
        return max(1, min(self.most_together, int(BLOCK_SECONDS / max(seconds, 1e-9))))

    @cached_property
    def most_together(self) -> int:
        """The largest number of points to measure in one call, which takes some seconds."""
        return self.block_within(MOST_CONFIGURATIONS, BLOCK_MACS)

    def block_within(self, most: int, macs: int) -> int:
        """The number of points, `most` or fewer, that are measured in one call with no more MACs than `macs`.

        A product of whole axes, from the last, which fits into memory. Points with equal first choices are next to each
        other, so the MACs of a prefix count once; a block may always have those of two points without sharing.
        """
        block = 1
        for size in reversed(self.sizes):
            fitting = next(n for n in range(size, 0, -1) if n == 1 or self._fits(block * n, most, macs))
            block *= fitting
            if fitting < size:
                return block
        return block

    def _fits(self, block: int, most: int, macs: int) -> bool:
        """Whether this many points can be measured in one call."""
        measured = sum(m.bytes_per_configuration for _, measures in self.evaluators for m in measures)
        if block > min(most, self.memory // 2 // (measured + 64 * len(self.sizes))):
            return False
        return self.macs_of_block(block) <= max(macs, 2 * sum(self.macs))

    def macs_of_block(self, block: int) -> int:
        """The MACs of this many points from the first, those of a shared prefix once."""
        found, behind = 0, 1
        for size, own in zip(reversed(self.sizes), reversed(self.macs), strict=True):
            found += own * -(-block // behind)  # once for each prefix that ends with this axis
            behind *= size
        return found

    def prepare(self, codes: Codes, jobs: Jobs) -> None:
        """Do the slow work that the metrics of configurations rest on, `jobs` calls at a time."""
        for table in self.tables:
            if isinstance(table, PreparedTable):
                table.prepare(codes, jobs)

    def prepare_all(self, jobs: Jobs) -> None:
        """The same for all points; of many for some drawn ones, and what else comes up is done where it does."""
        if (points := prod(self.sizes)) <= DRAWN_POINTS:
            self.prepare(codes_of_range(0, points, self.sizes), jobs)
        else:
            self.prepare(np.random.default_rng(0).integers(0, self.sizes, (DRAWN_POINTS, len(self.sizes))), jobs)

    def limit(self, memory: int) -> None:
        """Bound the memory of intermediate values to `memory` bytes; blocks do not change."""
        for evaluator, _ in self.evaluators:
            evaluator.walk.memory = memory // len(self.evaluators)

    def _sorted_scores(self, codes: Codes) -> Scores:
        found: Scores = {}
        with one_thread():  # pieces are as large as the cache
            for evaluator, measures in self.evaluators:
                for scores in evaluator.run_sorted(codes, measures):
                    found |= scores
        for table in self.tables:
            found |= table.scores(codes)
        return found


def batched_measurement(subject: Subject, runners: RunnerSet, jobs: Jobs | None = None) -> BatchedMeasurement | None:
    """The batched measurement for those runners of a subject that allow it, prepared for each choice on its own.

    None if the space is no product, or the batched evaluator cannot run the model.
    """
    axes = subject.axes
    if axes is None:
        return None
    try:
        evaluators = _evaluators(subject, runners)
        tables = [runner.table(ChosenPlans(subject, ()), axes) for runner in runners.tabled]
    except GraphError as error:
        logger.info("points are measured one after the other: %s", error)
        return None
    rows = sum(len(evaluator.targets) for evaluator, _ in evaluators)
    macs = tuple(rows * own for own in subject.work.macs_of(axes))
    sizes = tuple(len(axis) for axis in axes)
    found = BatchedMeasurement(sizes, macs, evaluators, tables, subject.memory)
    found.prepare(_each_choice_alone(sizes), jobs or Jobs())
    return found


def _each_choice_alone(sizes: Sequence[int]) -> Codes:
    """Configurations with one choice other than the first at the most, so that each choice is in one."""
    rows = [[0] * len(sizes)]
    rows += [
        [choice if own == axis else 0 for own in range(len(sizes))]
        for axis, n in enumerate(sizes)
        for choice in range(1, n)
    ]
    return np.array(rows, np.int64).reshape(len(rows), len(sizes))


def _evaluators(subject: Subject, runners: RunnerSet) -> list[tuple[Evaluator, list[Measure]]]:
    """One evaluator for all runners that score outputs on the same samples, and the scoring of each of them."""
    found: dict[Samples, tuple[Evaluator, list[Measure]]] = {}
    for runner in runners.of_outputs:
        samples = row_key(runner)
        evaluator, measures = found.setdefault(samples, (subject.evaluator(samples), []))
        measures.append(runner.batched(evaluator.targets, evaluator.program.example))
    return list(found.values())
