"""Tells what a search would do and measures a few points for estimates, without writing anything."""

from __future__ import annotations

import time

import numpy as np

from chop.actions.search.checks import checked_run
from chop.actions.search.measuring.batched import BatchedMeasurement
from chop.actions.search.measuring.instruments import Instruments
from chop.actions.search.measuring.samples import measured_samples
from chop.actions.search.measuring.scheduler import Scheduler
from chop.actions.search.run.block_by_block import is_block_by_block
from chop.actions.search.run.declared_training import declared_training
from chop.actions.search.run.job import SearchJob
from chop.actions.search.run.trial_by_trial import TrialRun
from chop.actions.search.search_space import SearchSpaceBase
from chop.actions.search.search_space.trained_networks import TrainedNetworks
from chop.actions.search_flags import SearchFlags
from chop.config.run_config import RunConfig
from chop.evaluation.memory import resident
from chop.executors import Jobs
from chop.record.goals import Goals
from chop.report.dry_run import DryRun, NodePlan
from chop.tools.threads import one_thread

FEW = 16
"""Points that are measured for an estimate, where they are measured trial by trial."""


def dry_run(run_config: RunConfig, flags: SearchFlags) -> DryRun:
    """What `ch search` would do with these options, and how long it would take.

    Raises what the search would raise before its first trial: ConfigError, GraphError, SearchError.
    """
    run_config = run_config.with_overrides(flags.overrides(run_config.tables))
    job = checked_run(SearchJob, run_config, "search_ckpts")
    setup, instruments = job.settings.setup, job.instruments()
    goals = job.goals(instruments)
    trials = TrialRun(job, instruments, goals)
    block = _block(trials)
    timed, seconds = 0, None
    with one_thread(instruments.is_light or setup.n_jobs > 1):
        if declared_training(job.settings) is None:
            timed, seconds = _time_of_block(job, block) if block else _time_of_trials(job, instruments)
    samples = measured_samples(instruments.runners, job.data_module)
    return DryRun(
        nodes=_nodes(job.space.given if isinstance(job.space, TrainedNetworks) else job.space),
        points=job.space.size,
        strategy=job.settings.algorithm,
        trials=trials.expected_trials,
        timeout=setup.timeout,
        objectives=_objectives(goals),
        constraints=tuple(constraint.explained() for constraint in goals.constraints),
        samples=tuple(f"{what} ({', '.join(names)})" for what, names in samples.items()),
        timed=timed,
        seconds=seconds,
        jobs=setup.n_jobs,
        resident=resident(),
        budget=setup.memory_mib * 2**20,
    )


def _nodes(space: SearchSpaceBase) -> tuple[NodePlan, ...]:
    ops = space.graph.quantizable_nodes()
    lists: dict[str, dict[str, list[object]]] = {}
    for path, choices in space.choices_flattened.items():
        node, _, key = path.partition("/config/")
        lists.setdefault(node, {})[key] = choices
    return tuple(NodePlan(node, ops[node].name if node in ops else "", own) for node, own in lists.items())


def _objectives(goals: Goals) -> tuple[str, ...]:
    if goals.sum_direction:
        return (f"{goals.sum_direction} the sum of {', '.join(f'{o.scale:g} {o.metric}' for o in goals.objectives)}",)
    return tuple(f"{own.direction} {own.metric}" for own in goals.objectives)


def _block(trials: TrialRun) -> tuple[BatchedMeasurement, int] | None:
    """The way in which the first points are measured, and the points in one call, if points are measured by index."""
    batched = trials.instruments.for_blocks
    if is_block_by_block(trials.search, trials.instruments, resume=False):
        assert batched is not None
        return batched, batched.block_size()
    return (batched, trials.instruments.chunk_by_index) if batched and trials.by_index else None


def _time_of_block(job: SearchJob, block: tuple[BatchedMeasurement, int]) -> tuple[int, float]:
    """The number of points of a block that were measured, and the seconds of each."""
    batched, size = block
    stop = min(size, job.space.size)
    started = time.monotonic()
    batched.scores_of_range(0, stop)
    return stop, (time.monotonic() - started) / stop


def _time_of_trials(job: SearchJob, instruments: Instruments) -> tuple[int, float]:
    """The number of points, spread over the space, that were measured as trials are, and the seconds of each."""
    generator = np.random.default_rng(job.seed)
    size = min(job.space.size, 2**62)
    indexes = sorted({int(index) for index in generator.integers(0, size, FEW)})
    points = [job.space.point(index) for index in indexes]
    with Scheduler(instruments, Jobs()) as scheduler:
        list(scheduler.measure(points[:1], None))  # what is computed once is no part of each
        started = time.monotonic()
        list(scheduler.measure(points, None))
    return len(points), (time.monotonic() - started) / len(points)
