"""Measures points of a space with all runners of a search, and measures found networks again on their own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from math import isclose, isnan
from typing import Any

import numpy as np
import torch

from chop.actions.fine_tuning import FineTuning
from chop.actions.search.measuring.baseline import of_the_float_baseline, require_metrics
from chop.actions.search.measuring.batched import BatchedMeasurement, fold
from chop.actions.search.measuring.workload import Workload
from chop.actions.search.search_space.base import Point, SampledConfig, SearchSpaceBase
from chop.actions.search.search_space.codes import code_of
from chop.actions.search.settings.search import RunnerChoice
from chop.actions.search.strategies.runners.base import (
    RUNNERS,
    AnalyticRunner,
    Metric,
    ModelRunner,
    OutputRunner,
    RunnerBase,
    check_finite,
    row_key,
)
from chop.errors import GraphError, MetricError, SearchError
from chop.evaluation.evaluator import Evaluator
from chop.evaluation.exactness import sums_are_exact
from chop.evaluation.measures import Scores
from chop.evaluation.plan_runner import PlanRunner
from chop.evaluation.predictions import predict
from chop.evaluation.program import Axis
from chop.evaluation.tables import CostTable
from chop.evaluation.walk import Codes
from chop.ir import MaseGraph, QuantPlan
from chop.ir.graph.node_costs import NodeCost, remarks_on
from chop.scoring.scores import score_with_intervals
from chop.tools.logger import get_logger

logger = get_logger(__name__)

BATCH_MACS = 5 * 10**9
"""Multiply-accumulates of points that are measured together: a second or so on one core."""

MOST_TOGETHER = 256
"""Points that are asked for together at the most, by strategies that do not mind."""
SINGLY_TOGETHER = 16
"""The same where each is measured on its own, or a function of its predictions is called that may be slow."""

LIGHT_MACS = 2 * 10**8
"""Multiply-accumulates of a batch, below which one thread is as quick as several."""

CHUNKS = 8
"""Parts of a second's work that several processes may share."""

FEW_POINTS = 4
"""So few are measured one after the other: there is too little to share for what folding them costs."""
ROUNDING_SHARE = 0.005
"""Largest difference between a metric and the same measured singly where sums of floats are rounded: as a share of the
metric, or of the rows for one that lies between 0 and 1."""

Metrics = dict[str, float]
FLOAT_CONFIG: SampledConfig = {"by": "name", "default": {"config": {"name": "NA"}}}
TOLERANCE = 1e-6
"""Largest relative difference between a number and the same number measured singly (the order of a float sum)."""


@dataclass(frozen=True)
class Measured:
    """What the runners under `sw_runner` and under `hw_runner` gave."""

    software: Metrics
    hardware: Metrics
    stopped_at: int | None = None
    """After how many rows the candidate was given up, if it was: then the metrics are those on these rows."""


class Measurement:
    """The runners of a search on one space and one data module."""

    def __init__(
        self,
        space: SearchSpaceBase,
        graph: MaseGraph,
        data_module: Any,
        runners: tuple[RunnerChoice, ...],
        eval_mode: bool = True,
        device: str = "cpu",
        memory: int = 2**30,
    ) -> None:
        self.space = space
        self.graph = graph
        self.data_module = data_module
        self.eval_mode = eval_mode
        self.device = device
        self.memory = memory
        self._runners = [(choice.group, RUNNERS[choice.name](data_module, choice.options)) for choice in runners]
        self.work = Workload(graph, data_module)
        self._costs = self._analytic_costs()
        for remark in remarks_on(self._costs):
            logger.warning("%s", remark)
        self._plan_runners: dict[Any, PlanRunner] = {}
        self._evaluators: dict[Any, Evaluator] = {}

    def __getstate__(self) -> dict[str, Any]:
        """For another process: how to measure, without what was made on the way."""
        made = {name for name, value in vars(type(self)).items() if isinstance(value, cached_property)}
        kept = {name: value for name, value in self.__dict__.items() if name not in made}
        return {**kept, "work": None, "_costs": {}, "_plan_runners": {}, "_evaluators": {}}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self.work = Workload(self.graph, self.data_module)
        self._costs = self._analytic_costs()

    def measure(self, point: Point) -> Measured:
        """All metrics of a point; raises MetricError for one that is no finite number."""
        return self._measure(self.space.plan(point), self.space.flattened_indexes_to_config(point))

    @cached_property
    def cost_tables(self) -> list[CostTable]:
        """The metrics that follow from formats alone; none where the space is no product."""
        axes = self.space.axes()
        analytic = [runner for _, runner in self._runners if isinstance(runner, AnalyticRunner)]
        return [] if axes is None else [CostTable(r.terms, r.combine, self._costs, axes) for r in analytic]

    def measure_many(self, points: Sequence[Point]) -> list[Measured | MetricError]:
        """`measure` for each of the points; those that differ in little share what they have in common."""
        batched = self.batched if len(points) > FEW_POINTS else None
        if batched is None:
            return [self.outcome(point) for point in points]
        return self.outcomes(points, batched.scores(self.codes(points)))

    def codes(self, points: Sequence[Point]) -> Codes:
        """The points of a space that is a product as codes, `(points, axes)`."""
        assert self.batched is not None
        indexes = [self.space.index(point) for point in points]
        return np.array([code_of(index, self.batched.sizes) for index in indexes if index is not None])

    def outcomes(self, points: Sequence[Point], scores: Scores) -> list[Measured | MetricError]:
        """The outcome for each of `points`, whose metrics `scores` are."""
        return [
            self._outcome_of(point, {name: float(values[row]) for name, values in scores.items()})
            for row, point in enumerate(points)
        ]

    def _outcome_of(self, point: Point, metrics: Metrics) -> Measured | MetricError:
        """The outcome from what was measured with others; a metric that failed is called once more, for its words."""
        try:
            check_finite(metrics, "this network")
        except MetricError as error:
            has_raised = any(isnan(metrics[m.name]) for runner in self.output_runners for m in runner.metrics)
            alone = self.outcome(point) if has_raised else error
            return alone if isinstance(alone, MetricError) else error
        return self.by_group(metrics)

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """The metrics of all runners, in order."""
        return tuple(metric for _, runner in self._runners for metric in runner.metrics)

    @property
    def units(self) -> dict[str, str]:
        """The unit of each metric; empty of a plain number."""
        return {metric.name: metric.unit for metric in self.metrics}

    @property
    def output_runners(self) -> list[OutputRunner]:
        """The runners whose metrics are functions of predictions."""
        return [runner for _, runner in self._runners if isinstance(runner, OutputRunner)]

    @property
    def training_options(self) -> FineTuning | None:
        """How each network is trained before it is measured, if it is."""
        return next((own.options for _, own in self._runners if isinstance(own.options, FineTuning)), None)

    def analytic(self, plan: QuantPlan) -> Metrics:
        """The metrics that follow from formats alone."""
        found: Metrics = {}
        for _, runner in self._runners:
            if isinstance(runner, AnalyticRunner):
                found |= runner.total(self._costs, plan)
        return found

    @property
    def runs_models(self) -> bool:
        """Whether the model itself must be run for each point: a runner does, or any in training mode."""
        kinds = ModelRunner if self.eval_mode else (ModelRunner, OutputRunner)
        return any(isinstance(runner, kinds) for _, runner in self._runners)

    @cached_property
    def batch(self) -> int:
        """How many points to measure together: few enough for progress to be seen.

        Told from counted operations and not from the clock, so that an interrupted search goes on as it began.
        """
        if self.batched is None or self.batched.calls_functions:
            return SINGLY_TOGETHER
        return max(1, min(MOST_TOGETHER, BATCH_MACS // self._macs))

    @cached_property
    def is_light(self) -> bool:
        """Whether a batch is so little work that several threads would only wait for each other."""
        parts = {row_key(runner) for runner in self.output_runners} or {("val_dataloader", None)}
        rows = max(len(self.data_module.batches(*part)[0][1]) for part in parts)
        return 0 < rows * self.work.macs < LIGHT_MACS

    @cached_property
    def chunk(self) -> int:
        """How many points a process measures together, whatever the number of processes: results must not hang on it.

        Few points of a large network, so that there is something to share; all of a small one, which saves most where
        many are measured in one call.
        """
        assert self.batched is not None
        most = SINGLY_TOGETHER // CHUNKS if self.batched.calls_functions else MOST_TOGETHER
        return max(1, min(most, BATCH_MACS // CHUNKS // self._macs))

    @cached_property
    def _macs(self) -> int:
        """Multiply-accumulates of one point on all its rows, were nothing shared."""
        assert self.batched is not None
        return max(1, self.work.macs * sum(len(evaluator.targets) for evaluator, _ in self.batched.evaluators))

    @property
    def float_only(self) -> list[str]:
        """What has parameters or multiplies matrices, and no formats to choose: it stays in float."""
        costs = [cost for cost in self._costs.values() if not cost.op.quantizable]
        heavy = [cost for cost in costs if cost.macs or any(tensor.is_parameter for tensor in cost.tensors)]
        return [f"{cost.name} ({cost.op.name})" for cost in heavy]

    @cached_property
    def batched(self) -> BatchedMeasurement | None:
        """What measures many points at once; None where a runner must run the model itself or points are no codes."""
        runners = [runner for _, runner in self._runners]
        axes = self.space.axes() if self.eval_mode else None
        if axes is None or any(isinstance(runner, ModelRunner) for runner in runners):
            return None
        try:
            evaluator_of = partial(self._evaluator, axes)
            return fold(axes, self.work.macs_of(axes), runners, evaluator_of, self.cost_tables, self.memory)
        except GraphError as error:
            logger.info("points are measured one after the other: %s", error)
            return None

    def _evaluator(self, axes: Sequence[Axis], runner: OutputRunner) -> Evaluator:
        """One for all runners that measure on the same rows."""
        key = row_key(runner)
        if key not in self._evaluators:
            batches = self.data_module.batches(*key)
            self._evaluators[key] = Evaluator(
                self.graph, axes, batches, self.device, self.memory // 2, self.data_module.output
            )
        return self._evaluators[key]

    def outcome(self, point: Point) -> Measured | MetricError:
        """`measure`, or why a point has no metrics."""
        try:
            return self.measure(point)
        except MetricError as error:
            return error

    def by_group(self, metrics: Mapping[str, float]) -> Measured:
        """Metrics as those of the runners under `sw_runner` and of those under `hw_runner`."""
        found: dict[str, Metrics] = {"sw_runner": {}, "hw_runner": {}}
        for group, runner in self._runners:
            found[group] |= {metric.name: metrics[metric.name] for metric in runner.metrics}
        return Measured(found["sw_runner"], found["hw_runner"])

    def measure_float(self) -> Measured:
        """All metrics of the network without any format, treated as all others are."""
        with of_the_float_baseline():
            return self._measure(QuantPlan(), FLOAT_CONFIG)

    def require_metrics(self) -> None:
        """Raise MetricError where a metric of the data fails for the network in float, and ChopError for all else that
        would fail for every network.
        """
        self.analytic(QuantPlan())
        require_metrics((runner for _, runner in self._runners), self.data_module, self._plan_runner)

    def _measure(self, plan: QuantPlan, config: SampledConfig) -> Measured:
        found: dict[str, Metrics] = {"sw_runner": {}, "hw_runner": {}}
        for group, runner in self._runners:
            found[group] |= self._run(runner, plan, config)
        check_finite({**found["sw_runner"], **found["hw_runner"]}, "this network")
        return Measured(found["sw_runner"], found["hw_runner"])

    def check_singly(self, sampled_config: SampledConfig, logged: Mapping[str, float]) -> MaseGraph:
        """Measure a network as a model of its own, built by the quantise pass, and compare with the search's figures.

        Gives that network. Raises SearchError where they differ.
        """
        graph = self.rebuild(sampled_config)
        if difference := self._difference(graph, logged):
            raise SearchError(
                f"the search measured {difference} for the network on its own: these must agree, so no result of this "
                "search can be trusted. A model, loss or metric of your own that draws at random, or changes from call "
                f"to call, does this; where there is none, please report it with {sampled_config}"
            )
        return graph

    def contradiction(self, point: Point, logged: Mapping[str, float]) -> str:
        """How a network measured on its own differs from what was written down of it; empty where it does not."""
        return self._difference(self.rebuild(self.space.flattened_indexes_to_config(point)), logged)

    def _difference(self, graph: MaseGraph, logged: Mapping[str, float]) -> str:
        """Measured times are left out: they never agree."""
        for _, runner in self._runners:
            for name, value in self._run_singly(runner, graph).items():
                if name not in logged:
                    return f"no {name}, but {value!r}"
                if isclose(value, logged[name], rel_tol=TOLERANCE, abs_tol=TOLERANCE):
                    continue
                if not self._is_a_matter_of_rounding(runner, graph, name, (value, logged[name])):
                    return f"{name} = {logged[name]!r}, but {value!r}"
        return ""

    def _is_a_matter_of_rounding(
        self, runner: RunnerBase, graph: MaseGraph, metric: str, values: tuple[float, float]
    ) -> bool:
        """Whether a small difference is what another order of float sums makes.

        A float layer's result may move by its last bit, and a layer behind it may then round a few values to the next
        step; sums of fixed-point numbers are exact, and leave no such excuse.
        """
        if not self._evaluators or not isinstance(runner, OutputRunner):
            return False  # measured one by one, in the order of sums of the network itself
        difference = abs(values[0] - values[1])
        counts_rows = any(own.name == metric and own.range == (0.0, 1.0) for own in runner.metrics)
        whole = 1.0 if counts_rows else max(map(abs, values))
        if sums_are_exact(graph) or difference > ROUNDING_SHARE * whole:
            return False
        rows = len(self._plan_runner(row_key(runner)).targets)
        logger.warning(
            "%s: layers in float, or in formats whose sums are rounded, give %.2g more or less by the order of their "
            "sums%s",
            metric,
            difference,
            f" (about {difference * rows:.0f} of {rows} samples)" if counts_rows else "",
        )
        return True

    def test_metrics(self, graph: MaseGraph) -> dict[str, tuple[float, float, float]]:
        """Scores of a network on the whole test part with 95 % intervals, `{name: (value, low, high)}`.

        Runners change the graph as their metrics suppose it (they train it, say), also one that is all in float.
        """
        for _, runner in self._runners:
            runner.adapt(graph)
        predictions, targets = self._predict(graph, "test_dataloader", None)
        return score_with_intervals(
            predictions,
            targets,
            data_module_loss=self.data_module.loss,
            metrics=self.data_module.metrics,
            num_classes=self.data_module.dataset_info.num_classes,
        )

    def rebuild(self, sampled_config: SampledConfig) -> MaseGraph:
        """The network of a sampled config as a graph of its own."""
        graph = self.space.rebuild_model(sampled_config, self.eval_mode)
        graph.model.to(self.device)
        return graph

    def _run(self, runner: RunnerBase, plan: QuantPlan, config: SampledConfig) -> Metrics:
        if isinstance(runner, AnalyticRunner):
            return runner.total(self._costs, plan)
        if isinstance(runner, OutputRunner) and self.eval_mode:
            rows = self._plan_runner(row_key(runner))
            return runner.scored(rows.predictions(plan), rows.targets)
        return self._run_model(runner, self.rebuild(config))

    def _run_model(self, runner: RunnerBase, graph: MaseGraph) -> Metrics:
        """What a runner finds on a graph of its own; whatever is drawn (dropout) is drawn alike in every run."""
        with torch.random.fork_rng():
            torch.manual_seed(0)
            return self._run_seeded(runner, graph)

    def _run_seeded(self, runner: RunnerBase, graph: MaseGraph) -> Metrics:
        if isinstance(runner, OutputRunner):
            return runner.scored(*self._predict(graph, *row_key(runner)))
        assert isinstance(runner, ModelRunner)
        return runner.measured(runner.measure, graph)

    def _run_singly(self, runner: RunnerBase, graph: MaseGraph) -> Metrics:
        if isinstance(runner, AnalyticRunner):
            return runner.total(self._costs, graph.plan)
        return {} if isinstance(runner, ModelRunner) else self._run_model(runner, graph)

    def _plan_runner(self, key: tuple[str, int | None]) -> PlanRunner:
        """One for all runners that measure on the same rows."""
        if key not in self._plan_runners:
            batches = self.data_module.batches(*key)
            self._plan_runners[key] = PlanRunner(self.graph, batches, self.device, self.data_module.output)
        return self._plan_runners[key]

    def _predict(self, graph: MaseGraph, part: str, rows: int | None) -> tuple[torch.Tensor, torch.Tensor]:
        batches = self.data_module.batches(part, rows)
        return predict(graph.model, batches, self.device, self.data_module.output)

    def _analytic_costs(self) -> dict[str, NodeCost]:
        """What analytic runners add up, if there are any."""
        is_needed = any(isinstance(runner, AnalyticRunner) for _, runner in self._runners)
        return self.work.costs if is_needed else {}
