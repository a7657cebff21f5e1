"""Makes the summary of a comparison from its runs: curves by strategy, verdict, and data of the pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from chop.actions.compare.contenders import UNIFORM, Contender
from chop.actions.compare.curves import (
    Question,
    band,
    by_trial,
    evaluations_to,
    hypervolume_curve,
    regret_curve,
    spread,
)
from chop.actions.compare.experiment import Run
from chop.actions.compare.redundancy import constant_objectives, constant_remarks, rank_correlations, redundancy_remarks
from chop.actions.compare.statistics import Sample
from chop.actions.compare.verdict import TARGET, Record, verdict
from chop.actions.oracle import Oracle
from chop.record.comparison import TARGETS, CompareSummary, StrategySummary, share_name, whole_name
from chop.record.front import Front
from chop.record.summary import Origin

Array = np.ndarray[Any, Any]
MOST_IN_CLOUD = 20_000
"""Points of the space that a picture shows at the most."""


ENOUGH_COPIES = 5
"""Runs that all measured the same points which show that chance has no say in where they end: they are no samples."""


@dataclass(frozen=True)
class Facts:
    """Facts about a comparison: space, goals, budget, remarks, runs.

    `runs` of the `planned_runs` (strategies × seeds) have ended, or are not needed because the strategy does not use
    its seed.
    """

    origin: Origin
    space_size: int
    budget: int
    seeds: Sequence[int]
    is_exact: bool
    remarks: Sequence[str]
    runs: int
    planned_runs: int
    units: Mapping[str, str] = field(default_factory=dict)
    samples: str = ""


@dataclass(frozen=True)
class StrategyRuns:
    """The runs of one strategy with their hypervolume curves, by seed; `probes` cost as much as so many evaluations."""

    contender: Contender
    runs: list[Run]
    curves: list[Array]
    budget: int
    probes: float = 0.0

    @property
    def deterministic(self) -> bool:
        """Whether all seeds made the same proposals."""
        return len(self.runs) > 1 and all(run.proposes_as(self.runs[0]) for run in self.runs[1:])

    @property
    def measured_alike(self) -> bool:
        """Whether all runs measured the same points, so that the seed only changes the order."""
        points = [np.unique(run.rows) for run in self.runs]
        return len(points) > 1 and all(np.array_equal(points[0], other) for other in points[1:])

    @property
    def shares(self) -> list[float]:
        """The final hypervolume of each run."""
        return [float(curve[-1]) if len(curve) else 0.0 for curve in self.curves]

    @property
    def middle(self) -> int:
        """The index of the median run by final hypervolume."""
        order = np.argsort(self.shares, kind="stable")
        return int(order[(len(order) - 1) // 2])

    @property
    def evaluations(self) -> float:
        """The median number of evaluations of a run."""
        return float(np.median([len(run.evaluated) for run in self.runs]))

    def record(self) -> Record:
        """The figures that the verdict compares: of the budget, the probes take their part."""
        left = max(0, int(self.budget - self.probes))
        curves = [curve[:left] for curve in self.curves]
        reach = tuple(evaluations_to(curve, TARGET) + self.probes for curve in curves)
        ends = tuple(-float(curve[-1]) if len(curve) else 0.0 for curve in curves)
        are_copies = self.measured_alike and len(self.runs) >= ENOUGH_COPIES
        reached = Sample(reach, self.deterministic or (are_copies and len(set(reach)) == 1))
        ended = Sample(ends, self.deterministic or are_copies)
        spent = min(self.evaluations + self.probes, self.budget)
        return Record(self.contender.name, reached, ended, spent, self.contender.is_optuna)


def runs_by_strategy(
    contenders: Sequence[Contender], runs: Sequence[Run], oracle: Oracle, budget: int, probes: Mapping[str, float]
) -> list[StrategyRuns]:
    """The runs by strategy, for strategies with any; `probes` is what those of a strategy cost, in evaluations."""
    found = []
    for contender in contenders:
        own = [run for run in runs if run.strategy == contender.name]
        if own:
            curves = [hypervolume_curve(oracle, run.evaluated) for run in own]
            found.append(StrategyRuns(contender, own, curves, budget, probes.get(contender.name, 0.0)))
    return found


def summarise(facts: Facts, found: Sequence[StrategyRuns], oracle: Oracle, asked: Sequence[Question]) -> CompareSummary:
    """Make the summary of a comparison."""
    names = whole_name(oracle.goals, facts.is_exact), share_name(oracle.goals)
    judged = verdict([one.record() for one in found], facts.budget, *names)
    correlations = rank_correlations(oracle.landscape.metrics)
    drawn = pairs(asked, oracle)
    constant = constant_remarks(oracle.landscape.metrics, oracle.goals, is_drawn=bool(drawn))
    return CompareSummary(
        goals=oracle.goals,
        origin=facts.origin,
        space_size=facts.space_size,
        measured=oracle.landscape.size,
        budget=facts.budget,
        seeds=facts.seeds,
        is_exact=facts.is_exact,
        strategies=[strategy_summary(one, oracle, asked, facts.units) for one in found],
        verdict=judged.lines,
        comparisons=judged.comparisons,
        correlations=correlations,
        remarks=[
            *alike_remarks(found, facts),
            *constant,
            *redundancy_remarks(correlations, oracle.goals),
            *facts.remarks,
        ],
        front=metrics_at(oracle, oracle.front.index),
        cloud=cloud(oracle),
        pairs=drawn,
        uniform=uniform_points(found, oracle),
        runs=facts.runs,
        planned_runs=facts.planned_runs,
        units=facts.units,
        samples=facts.samples,
    )


def alike_remarks(found: Sequence[StrategyRuns], facts: Facts) -> list[str]:
    """One line per strategy whose runs are not independent samples."""
    if facts.budget >= facts.space_size:
        return []  # they had to measure all there is
    names = ", ".join(one.contender.name for one in found if one.measured_alike and not one.deterministic)
    return [f"The seed changes the order alone, all runs measured the same points: {names}."] if names else []


def strategy_summary(
    one: StrategyRuns, oracle: Oracle, asked: Sequence[Question], units: Mapping[str, str]
) -> StrategySummary:
    """The summary of all runs of a strategy."""
    runs, curves, goals = one.runs, one.curves, oracle.goals
    trials = max(len(run.rows) for run in runs)
    regrets = {
        question.label(goals, units): band((regret_curve(oracle, question, run.evaluated) for run in runs), one.budget)
        for question in asked
    }
    return StrategySummary(
        name=one.contender.name,
        runs=len(runs),
        deterministic=one.deterministic,
        hypervolume=band(curves, one.budget),
        hypervolume_by_trial=band((by_trial(c, run.is_new) for c, run in zip(curves, runs, strict=True)), trials),
        regret=regrets,
        evaluations_to={target: spread([evaluations_to(curve, target) for curve in curves]) for target in TARGETS},
        evaluations=one.evaluations,
        duplicates=float(np.median([run.repeats for run in runs])),
        seconds=float(np.median([run.seconds.sum() for run in runs])),
        seconds_per_trial=float(np.median([run.seconds.mean() for run in runs])),
        front=front_of(oracle, runs[one.middle].evaluated),
        front_share=one.shares[one.middle],
        probes=one.probes,
    )


def front_of(oracle: Oracle, rows: Array) -> dict[str, Array]:
    """The metrics of the front of some points."""
    distinct = np.unique(rows)
    kept = distinct[np.isfinite(oracle.costs[distinct]).all(1)]
    return metrics_at(oracle, Front.of(oracle.costs[kept], kept).index if len(kept) else kept)


def metrics_at(oracle: Oracle, rows: Array) -> dict[str, Array]:
    """The objectives' metrics of some points."""
    names = [objective.metric for objective in oracle.goals.objectives]
    return {name: oracle.landscape.metrics[name][rows] for name in names}


def uniform_points(found: Sequence[StrategyRuns], oracle: Oracle) -> dict[str, Array]:
    """The points with the same formats in all layers, if the strategy `uniform` took part; none if all points are."""
    rows = next((one.runs[0].evaluated for one in found if one.contender.name == UNIFORM), np.empty(0, dtype=np.int64))
    return metrics_at(oracle, rows if len(np.unique(rows)) < oracle.landscape.size else rows[:0])


def cloud(oracle: Oracle) -> dict[str, Array]:
    """Points of the space for the background of a picture; a random subset if there are many."""
    rows = np.flatnonzero(oracle.landscape.is_measured)
    if len(rows) > MOST_IN_CLOUD:
        rows = np.sort(np.random.default_rng(0).choice(rows, MOST_IN_CLOUD, replace=False))
    return metrics_at(oracle, rows)


def pairs(asked: Sequence[Question], oracle: Oracle) -> list[tuple[str, str]]:
    """`(cost, value)`: the axes of the pictures of fronts, for objectives that vary."""
    names = oracle.goals.names
    varying = set(names) - set(constant_objectives(oracle.landscape.metrics, oracle.goals))
    drawn = [(names[q.cost], names[q.objective]) for q in asked if q.cost is not None]
    return [pair for pair in dict.fromkeys(drawn) if varying.issuperset(pair)]
