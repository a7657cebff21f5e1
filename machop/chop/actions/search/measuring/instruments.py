"""All ways to measure the points of a search, batched or one by one, and the sizes of their batches."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from math import isnan

import numpy as np

from chop.actions.search.measuring.batched import BatchedMeasurement, batched_measurement
from chop.actions.search.measuring.outcome import Metrics, Outcome
from chop.actions.search.measuring.plans import ChosenPlans
from chop.actions.search.measuring.runner_set import RunnerSet
from chop.actions.search.measuring.single import SingleMeasurement
from chop.actions.search.measuring.subject import Subject
from chop.actions.search.search_space.base import Point
from chop.actions.search.search_space.codes import Codes, code_of
from chop.actions.search.strategies.runners.base import RunnerBase, row_key
from chop.actions.search.strategies.runners.checks import check_finite
from chop.actions.search.strategies.runners.protocols import PlanTable
from chop.dataset.data import first_batch
from chop.errors import MetricError
from chop.evaluation.measures import Scores
from chop.executors import Jobs

BATCH_MACS = 5 * 10**9
"""Multiply-accumulates of points that are measured together: a second or so on one core."""

MOST_BY_INDEX = 1_000
"""Points of an exhaustive search by index that one process measures in one call at the most: logging them takes a
second or so."""

MOST_TOGETHER = 256
"""Points that are asked for together at the most, by strategies that do not mind."""

SINGLY_TOGETHER = 16
"""The same where each is measured on its own, or a function of its predictions is called that may be slow."""

SHARED = 0.9
"""Share of its MACs that a larger chunk keeps at the most, where prefixes are shared; else processes share the work."""

LIGHT_MACS = 2 * 10**8
"""Multiply-accumulates of a batch, below which one thread is as quick as several."""

CHUNKS = 8
"""Parts of a second's work that several processes may share."""


class Instruments:
    """The measurements of a search: `batched` (None: impossible), `single`, and `singly` for the runners left over."""

    def __init__(self, subject: Subject, runners: RunnerSet, jobs: Jobs | None = None) -> None:
        self.subject = subject
        self.runners = runners
        self.single = SingleMeasurement(subject, runners)
        self._jobs = jobs

    @cached_property
    def batched(self) -> BatchedMeasurement | None:
        """The batched measurement, if there is one."""
        return batched_measurement(self.subject, self.runners, self._jobs)

    @cached_property
    def singly(self) -> list[RunnerBase]:
        """The runners that measure points one by one, because they cannot be batched."""
        if self.batched is None:
            return self.runners.needed
        together = [*self.runners.tabled, *self.runners.of_outputs]
        return [runner for runner in self.runners.needed if runner not in together]

    @property
    def for_blocks(self) -> BatchedMeasurement | None:
        """The measurement of an exhaustive search block by block; None if a runner cannot be batched."""
        return None if self.singly else self.batched

    @property
    def is_slow(self) -> bool:
        """Whether each point is measured on its own: for a runner that must be so asked, or in training mode."""
        is_training = not self.subject.eval_mode
        return any(own.one_by_one or (is_training and own.needs == "outputs") for own in self.runners.needed)

    @cached_property
    def tables(self) -> list[PlanTable]:
        """The metrics that cost next to nothing for any number of points; none if the space is no product."""
        axes = self.subject.space.axes()
        return [] if axes is None else [own.table(ChosenPlans(self.subject, ()), axes) for own in self.runners.free]

    def codes(self, points: Sequence[Point]) -> Codes:
        """Points of a product space as codes, `(points, axes)`."""
        assert self.batched is not None
        indexes = [self.subject.space.index(point) for point in points]
        return np.array([code_of(index, self.batched.sizes) for index in indexes if index is not None])

    def outcomes(self, points: Sequence[Point], scores: Scores) -> list[Outcome]:
        """The outcomes of `points` with the metrics `scores`."""
        return [
            self._outcome(point, {name: float(values[row]) for name, values in scores.items()})
            for row, point in enumerate(points)
        ]

    def _outcome(self, point: Point, metrics: Metrics) -> Outcome:
        """The outcome of one point; a metric that failed is computed once more for its error message."""
        try:
            check_finite(metrics, "this network")
        except MetricError as error:
            together = [runner for runner in self.runners.needed if runner not in self.singly]
            failed = [runner for runner in together if any(isnan(metrics[m.name]) for m in runner.metrics)]
            alone = SingleMeasurement(self.subject, self.runners, failed).outcome(point)
            return alone if isinstance(alone, MetricError) else error
        return self.runners.by_group(metrics)

    @cached_property
    def batch(self) -> int:
        """The number of points to measure in one call, small enough to show progress.

        Told from counted operations and not from the clock, so that an interrupted search goes on as it began.
        """
        if self.batched is None or self.batched.calls_functions:
            return SINGLY_TOGETHER
        return max(1, min(MOST_TOGETHER, BATCH_MACS // self._macs))

    @cached_property
    def chunk(self) -> int:
        """The number of points that a process measures in one call.

        It does not depend on the number of processes, so that results do not either.

        Few points of a large network, so that there is something to share; all of a small one, which saves most where
        many are measured in one call.
        """
        assert self.batched is not None
        most = SINGLY_TOGETHER // CHUNKS if self.batched.calls_functions else MOST_TOGETHER
        return max(1, min(most, BATCH_MACS // CHUNKS // self._macs))

    @cached_property
    def chunk_by_index(self) -> int:
        """`chunk` where points are asked for by index.

        As many as take a second with shared prefixes counted once, if sharing saves MACs; else there is more to share
        among processes with `chunk`.
        """
        assert self.batched is not None
        if self.batched.calls_functions:
            return self.chunk
        block = self.batched.block_within(MOST_BY_INDEX, BATCH_MACS)
        return block if 0 < self.batched.macs_of_block(block) < SHARED * block * self._macs else self.chunk

    def batch_by_index(self, n_jobs: int) -> int:
        """`batch` where points are asked for by index: a chunk for each of `n_jobs` processes, or more small ones."""
        if self.batched is None:
            return self.batch
        return max(n_jobs, self.batch // self.chunk_by_index) * self.chunk_by_index

    @cached_property
    def is_light(self) -> bool:
        """Whether a batch is so little work that several threads would slow it down."""
        parts = {row_key(runner) for runner in self.runners.of_outputs} or {("val_dataloader", None)}
        rows = max(len(first_batch(self.subject.data_module, *part)[1]) for part in parts)
        return 0 < rows * self.subject.work.macs < LIGHT_MACS

    @cached_property
    def _macs(self) -> int:
        """MACs of one point on all its samples, without sharing."""
        assert self.batched is not None
        samples = sum(len(evaluator.targets) for evaluator, _ in self.batched.evaluators)
        return max(1, self.subject.work.macs * samples)
