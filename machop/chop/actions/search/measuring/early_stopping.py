"""Early stopping on growing sample sizes: stops a trial at a rung once it cannot reach the front any more."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from chop.actions.search.measuring.outcome import Measured, Outcome
from chop.actions.search.measuring.single import SingleMeasurement
from chop.actions.search.search_space.base import Point
from chop.actions.search.strategies.runners.base import row_key
from chop.actions.search.strategies.runners.checks import check_finite
from chop.dataset.rows import cut
from chop.errors import MetricError
from chop.evaluation.plan_runner import PlanRunner
from chop.evaluation.predictions import accumulated
from chop.ir import MaseGraph, QuantPlan
from chop.record.front import Front
from chop.record.goals import Goals, sign
from chop.record.trial import Trial
from chop.scoring.accumulator import Together
from chop.scoring.bounds import UNKNOWN, SampleValues, bounds
from chop.tools.logger import get_logger
from chop.tools.model_outputs import OutputName

logger = get_logger(__name__)

KEPT_BYTES = 2**26
"""Values by sample of networks that may be rivals, which are kept so that they need not be measured again."""

ByRow = dict[str, SampleValues]


@dataclass(frozen=True)
class Rival:
    """A configuration of the front that was measured on all samples."""

    point: Point
    metrics: Mapping[str, float]


@dataclass(frozen=True)
class RacingPoint:
    """A point that is to be measured, and the front that it is compared with."""

    point: Point
    rivals: tuple[Rival, ...]


class _RungSamples:
    """The samples of each rung, shared by all runners that measure on them."""

    def __init__(
        self,
        graph: MaseGraph,
        batches: Iterable[tuple[Any, Tensor]],
        rungs: Sequence[int],
        device: str,
        output: OutputName,
    ) -> None:
        batches = list(batches)
        self.targets = torch.cat([y for _, y in batches]).to(device)
        self.ends = (*rungs, len(self.targets))
        self._parts = [PlanRunner(graph, part, device, output) for part in _cut_at(batches, rungs)]

    def stream(self, plan: QuantPlan, rung: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Outputs and targets of the samples that rung number `rung` adds, batch by batch."""
        return self._parts[rung].stream(plan)


def _cut_at(batches: Sequence[tuple[Any, Tensor]], rungs: Sequence[int]) -> Iterator[list[tuple[Any, Tensor]]]:
    """The samples before the first rung, between the rungs, and after the last."""
    ends = [0, *rungs, sum(len(y) for _, y in batches)]
    for start, stop in pairwise(ends):
        part, first = [], 0
        for x, y in batches:
            low, high = max(0, start - first), min(len(y), stop - first)
            if low < high:
                part.append((cut(x, low, high), y[low:high]))
            first += len(y)
        yield part


class _PartialMeasurement:
    """The measurement of one configuration on the samples so far."""

    def __init__(self, stopping: EarlyStopping, plan: QuantPlan) -> None:
        self._stopping = stopping
        self._plan = plan
        self._rungs = 0
        self._accumulators = [(runner, runner.accumulator(by_sample=True)) for runner in stopping.runners]

    def step(self) -> None:
        """Measure the samples that the next rung adds."""
        for key, rows in self._stopping.rows.items():
            taking = [accumulator for runner, accumulator in self._accumulators if row_key(runner) == key]
            accumulated(Together(taking), rows.stream(self._plan, self._rungs))
        self._rungs += 1

    def metrics(self) -> dict[str, float]:
        """The measured metrics on the samples so far."""
        found: dict[str, float] = {}
        for runner, accumulator in self._accumulators:
            found |= runner.result(accumulator)
        return found

    def by_row(self) -> ByRow:
        """The values sample by sample of those metrics that are means over samples."""
        return Together([accumulator for _, accumulator in self._accumulators]).sample_values()


class EarlyStopping:
    """Measures a configuration on the first `rungs[0]` samples, then on `rungs[1]` …, unless it is stopped.

    An evaluation ends early where a point of the front dominates the best that its metrics may be on all samples, or
    where that best violates a constraint. Metrics of formats alone are exact. For the others `chop.scoring.bounds` says
    how far they may move: against a constraint by the point's own samples, against a rival by the differences sample by
    sample. A metric that is not a mean over samples has no bound, and ends no evaluation. Until the front has a point,
    all samples are measured, so that the point nearest to the constraints can be shown.

    1 - `confidence` is the chance that the evaluation of a point which belongs on the front ends early, whatever the
    number of rungs, rivals and constraints: it is divided among all bounds that may end it (Bonferroni). It need not be
    divided among the objectives of a front: a network that no other dominates is better in at least one of them than
    any rival, and must lose there too (an intersection-union test; Berger, Technometrics 24, 1982, 295-300); all terms
    of a sum may move.
    """

    batch: ClassVar[int] = 16
    """Points that are asked for together, by strategies that do not mind: all of them meet the same front."""

    def __init__(self, single: SingleMeasurement, goals: Goals, rungs: Sequence[int], confidence: float) -> None:
        self.single = single
        self.goals = goals
        self.rungs = tuple(rungs)
        self.error = 1 - confidence
        self.runners = single.runners.of_outputs
        self._kept: OrderedDict[tuple[int, ...], ByRow] = OrderedDict()
        self._lay_rows()

    def _lay_rows(self) -> None:
        m = self.single.subject
        self.rows = {
            key: _RungSamples(m.graph, m.data_module.batches(*key), self.rungs, m.device, m.data_module.output)
            for key in dict.fromkeys(map(row_key, self.runners))
        }
        self._targets = {
            metric.name: self.rows[row_key(runner)].targets for runner in self.runners for metric in runner.metrics
        }

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "rows": {}, "_targets": {}, "_kept": OrderedDict()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self.runners = self.single.runners.of_outputs
        self._lay_rows()

    @property
    def full_rows(self) -> int:
        """The number of samples of a configuration that is not stopped."""
        return max(rows.ends[-1] for rows in self.rows.values())

    def tell_unbounded(self) -> None:
        """Log if no configuration can be stopped, because a metric has no bound."""
        partial = _PartialMeasurement(self, QuantPlan())
        partial.step()
        known = {*partial.by_row(), *(own.name for runner in self.single.runners.tabled for own in runner.metrics)}
        missing = [objective.metric for objective in self.goals.objectives if objective.metric not in known]
        if missing:
            logger.warning(
                "early stopping: %s is not a mean over samples, so it has no bound on the other samples; no trial "
                "is stopped as dominated, only by a violated constraint",
                ", ".join(missing),
            )

    def samples_saved(self, trials: Sequence[Trial]) -> tuple[str]:
        """One line on how many configurations were stopped, and how many samples that saved."""
        measured = [t for t in trials if t.repeats is None and not t.inherited]
        stopped = [t.stopped_at for t in measured if t.stopped_at is not None]
        share = sum(self.full_rows - rows for rows in stopped) / (self.full_rows * max(1, len(measured)))
        return (
            f"Early stopping: {len(stopped):,} of {len(measured):,} evaluations ended after "
            f"{' or '.join(map(str, self.rungs))} of {self.full_rows:,} samples, which saved {share:.0%} of the work.",
        )

    def measure(self, racing: RacingPoint) -> Outcome:
        """The metrics of a configuration on all samples, or on those of the rung at which it is stopped.

        MetricError: a metric on all samples is not a finite number.
        """
        plan = self.single.subject.space.plan(racing.point)
        try:
            exact = self.single.exact(plan)
        except MetricError as error:
            return error
        partial = _PartialMeasurement(self, plan)
        for rung in self.rungs:
            partial.step()
            if racing.rivals and self._cannot_win(exact, partial.by_row(), racing.rivals):
                found = self._outcome(exact, partial)
                if isinstance(found, Measured):  # a metric may not be known on so few rows; then all are measured
                    return replace(found, stopped_at=rung)
        partial.step()
        self._keep(racing.point, partial.by_row())
        return self._outcome(exact, partial)

    def _outcome(self, exact: Mapping[str, float], partial: _PartialMeasurement) -> Outcome:
        try:
            metrics = {**exact, **partial.metrics()}
            check_finite(metrics, "this network")
        except MetricError as error:
            return error
        return self.single.runners.by_group(metrics)

    def _cannot_win(self, exact: Mapping[str, float], seen: ByRow, rivals: Sequence[Rival]) -> bool:
        able = self._able(exact, rivals)
        open_constraints = sum(constraint.metric not in exact for constraint in self.goals.constraints)
        terms = sum(o.metric not in exact for o in self.goals.objectives) if self.goals.sum_direction else 1
        error = self.error / (len(self.rungs) * max(1, len(able) * terms + open_constraints))
        return self._is_beyond(exact, seen, error) or any(self._is_dominated(exact, seen, r, error) for r in able)

    def _is_beyond(self, exact: Mapping[str, float], seen: ByRow, error: float) -> bool:
        """Whether a constraint is violated with the stated confidence."""
        for constraint in self.goals.constraints:
            low, high = self._range(constraint.metric, exact, seen, error, None)
            if constraint.violation(high if constraint.kind == "min" else low) > 0:
                return True
        return False

    def _able(self, exact: Mapping[str, float], rivals: Sequence[Rival]) -> list[Rival]:
        """The rivals that may dominate a configuration.

        They are no worse in the exact costs. Of those only the front in the measured metrics is kept: no other rival
        need be compared (with one measured objective, one is left).

        Nothing that was measured of the point plays a part, so that this choice needs no correction.
        """
        costs = self.goals.costs({m: np.array([rival.metrics[m] for rival in rivals]) for m in self.goals.metrics})
        is_exact = [False] if self.goals.sum_direction else [o.metric in exact for o in self.goals.objectives]
        own = self.goals.costs({m: np.array([exact.get(m, 0.0)]) for m in self.goals.metrics})[0]
        no_worse = np.flatnonzero((costs[:, is_exact] <= own[is_exact]).all(1))
        measured = costs[no_worse][:, ~np.array(is_exact)]
        if len(no_worse) > 1 and measured.shape[1]:
            no_worse = np.sort(Front.of(measured, no_worse).index)
        return [rivals[place] for place in no_worse.tolist()]

    def _is_dominated(self, exact: Mapping[str, float], seen: ByRow, rival: Rival, error: float) -> bool:
        """Whether a rival dominates even the best values that a configuration may still reach."""
        by_row = self._by_row(rival.point)
        best = {}
        for objective, way in zip(self.goals.objectives, self._ways, strict=True):
            low, high = self._range(objective.metric, exact, seen, error, by_row.get(objective.metric))
            best[objective.metric] = np.array([low if way * objective.scale > 0 else high])
        costs = self.goals.costs(best)[0]
        theirs = self.goals.costs({m: np.array([rival.metrics[m]]) for m in best})[0]
        return bool((theirs <= costs).all() and (theirs < costs).any())

    @property
    def _ways(self) -> list[int]:
        """By objective, whether more of its scaled metric is worse (1) or better (-1)."""
        summed = self.goals.sum_direction
        return [sign(summed or objective.direction) for objective in self.goals.objectives]

    def _range(
        self, metric: str, exact: Mapping[str, float], seen: ByRow, error: float, known: SampleValues | None
    ) -> tuple[float, float]:
        """The interval that contains a metric on all samples."""
        if metric in exact:
            return exact[metric], exact[metric]
        return bounds(seen[metric], self._targets[metric], error, known) if metric in seen else UNKNOWN

    def _by_row(self, point: Point) -> ByRow:
        """The values of a rival on all samples; measured again if they were not kept."""
        key = self.single.subject.space.key(point)
        if key not in self._kept:
            partial = _PartialMeasurement(self, self.single.subject.space.plan(point))
            for _ in range(len(self.rungs) + 1):
                partial.step()
            self._keep(point, partial.by_row())
        self._kept.move_to_end(key)
        return self._kept[key]

    def _keep(self, point: Point, values: ByRow) -> None:
        self._kept[self.single.subject.space.key(point)] = values
        each = sum(own.values.nbytes for own in values.values())
        while len(self._kept) > 1 and len(self._kept) * each > KEPT_BYTES:
            self._kept.popitem(last=False)
