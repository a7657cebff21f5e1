"""Verifies the best networks against the log, measures their test scores, and measures the FP32 baseline."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import isclose

from chop.actions.search.measuring.baseline_check import of_the_float_baseline
from chop.actions.search.measuring.outcome import Measured
from chop.actions.search.measuring.plans import BuiltNetwork, TunedGraph, plans_of
from chop.actions.search.measuring.runner_set import RunnerSet
from chop.actions.search.measuring.single import FLOAT_CONFIG, SingleMeasurement, metrics_of
from chop.actions.search.measuring.subject import Subject
from chop.actions.search.run.measured_frac_widths import measured_frac_widths
from chop.actions.search.search_space.base import Point
from chop.actions.search.strategies.runners.base import RunnerBase, row_key
from chop.actions.search.strategies.runners.checks import check_finite
from chop.actions.search.strategies.runners.protocols import Plans
from chop.errors import ChopError, SearchError, first_line
from chop.evaluation.exactness import sums_are_exact
from chop.evaluation.predictions import accumulated
from chop.ir import MaseGraph, QuantPlan
from chop.record.trial import BestRow, TestMetrics, Trial
from chop.report.search_progress import each_shown
from chop.scoring.metric import Metric
from chop.tools.logger import get_logger

logger = get_logger(__name__)

FLOAT_ROW = -1
TOLERANCE = 1e-6
"""Largest relative difference between a number and the same number measured singly (the order of a float sum)."""

ROUNDING_SHARE = 0.005
"""Largest difference between a metric and the same measured singly where sums of floats are rounded: as a share of the
metric, or of the samples for one that lies between 0 and 1."""


def baseline_measurement(subject: Subject, runners: RunnerSet) -> Measured:
    """The metrics of the FP32 baseline that trials have too."""
    with of_the_float_baseline():
        return SingleMeasurement(subject, runners).baseline()


class Verification:
    """Measures networks built as models of their own, and compares them with the logged figures."""

    def __init__(self, subject: Subject, runners: RunnerSet) -> None:
        self._subject = subject
        self._runners = runners

    def measured_again(self, best: Sequence[BestRow]) -> list[BestRow]:
        """The rows with test scores; raises SearchError if a network's figures differ from the log."""
        return [self._measured_again(row) for row in each_shown(best, "winners again")]

    def _measured_again(self, row: BestRow) -> BestRow:
        config = row.sampled_config
        graph = self._subject.rebuild(config)
        if difference := self._difference(graph, BuiltNetwork(self._subject, graph, config), row.trial.metrics):
            raise SearchError(
                f"the search measured {difference} for the network on its own: these must agree, so no result of this "
                "search can be trusted. A model, loss or metric of your own that draws at random, or changes from call "
                f"to call, does this; where there is none, please report it with {config}"
            )
        if not self._subject.eval_mode:  # running it has moved its running statistics
            graph = self._subject.rebuild(config)
        plans = plans_of(self._subject, self._subject.space.plan(row.trial.point), config)
        return self._row(row, graph, plans)

    def of_tuned(self, row: BestRow, graph: MaseGraph) -> BestRow:
        """A row with the test scores of its tuned network, which was loaded from its file as `graph`.

        Raises SearchError if a figure differs from what was measured when the network was tuned.
        """
        plans = TunedGraph(graph, self._subject.data_module, row.sampled_config, self._subject.device)
        if difference := self._difference(graph, plans, row.trial.metrics):
            raise SearchError(
                f"the tuned network of trial {row.trial.number} had {difference} when it is loaded from its file: they "
                "must agree, so its figures cannot be trusted. A model, loss or metric of your own that draws at "
                f"random does this; where there is none, please report it with {row.sampled_config}"
            )
        return self._row(row, graph, plans)

    def _row(self, row: BestRow, graph: MaseGraph, plans: Plans) -> BestRow:
        """The row with what is measured of the built network `graph` alone."""
        found = measured_frac_widths(row.sampled_config, graph.plan)
        trial = self._completed(row.trial, plans)
        return replace(row, trial=trial, frac_widths=found, test_metrics=self._on_test(graph))

    def _completed(self, trial: Trial, plans: Plans) -> Trial:
        """A trial with the metrics that only the best networks get, without those that fail."""
        metrics = dict(trial.metrics)
        for runner in self._runners.left_to_the_best:
            try:
                found = metrics_of([runner], plans)
                check_finite(found, "this network")
                metrics |= found
            except ChopError as error:
                logger.warning("%s: %s", "FP32" if trial.number == FLOAT_ROW else f"trial {trial.number}", error)
        measured = self._runners.by_group(metrics)
        return replace(trial, software_metrics=measured.software, hardware_metrics=measured.hardware)

    def float_row(self) -> BestRow | None:
        """The FP32 baseline, as a row to compare with."""
        try:
            measured = baseline_measurement(self._subject, self._runners)
        except SearchError as error:
            logger.warning("the table has no row for the FP32 baseline: %s", error)
            return None
        trial = Trial(FLOAT_ROW, {}, measured.software, measured.hardware, {})
        trial = self._completed(trial, plans_of(self._subject, QuantPlan(), FLOAT_CONFIG))
        return BestRow(trial, (), FLOAT_CONFIG, self._on_test(self._subject.rebuild(FLOAT_CONFIG)))

    def contradiction(self, point: Point, logged: Mapping[str, float]) -> str:
        """How the network of a trial, measured alone, differs from its log; empty if it does not."""
        config = self._subject.space.flattened_indexes_to_config(point)
        graph = self._subject.rebuild(config)
        return self._difference(graph, BuiltNetwork(self._subject, graph, config), logged)

    def _difference(self, graph: MaseGraph, plans: Plans, logged: Mapping[str, float]) -> str:
        """The first metric that differs. Runners that need the model itself are skipped: measured times never agree."""
        for runner in self._runners.needed:
            if runner.needs == "model":
                continue
            for name, value in metrics_of([runner], plans).items():
                if name not in logged:
                    return f"no {name}, but {value!r}"
                if not self._agree(runner, graph, name, (value, logged[name])):
                    return f"{name} = {logged[name]!r}, but {value!r}"
        return ""

    def _agree(self, runner: RunnerBase, graph: MaseGraph, name: str, values: tuple[float, float]) -> bool:
        if self._subject.has_evaluators:
            return figures_agree(runner, graph, name, values)
        return _are_close(values)  # measured one by one, in the order of sums of the network itself

    def _on_test(self, graph: MaseGraph) -> TestMetrics | None:
        """Scores on the test set; None, with a warning, if the model, a loss or a metric fails there."""
        try:
            return self._test_metrics(graph)
        except Exception as error:  # of the user's own code, when all else is done
            logger.warning("a network of the front has no test scores: %s", first_line(error))
            return None

    def _test_metrics(self, graph: MaseGraph) -> TestMetrics:
        """Scores of a network on the test set with 95 % intervals, `{name: (value, low, high)}`.

        Runners change the graph as their metrics suppose it (they train it, say), also one that is all in float32.
        """
        for runner in self._runners.all:
            runner.adapt(graph)
        accumulator = self._subject.data_module.task.accumulator(by_sample=True)
        return accumulated(accumulator, self._subject.stream(graph, ("test_dataloader", None))).intervals()


def figures_agree(runner: RunnerBase, graph: MaseGraph, name: str, values: tuple[float, float]) -> bool:
    """Whether two figures are equal, up to the effect of another order of float sums on the outputs.

    A float layer's result may move by its last bit, and a layer behind it may then round a few values to the next
    step; sums of fixed-point numbers are exact, and leave no such excuse.
    """
    if _are_close(values):
        return True
    metric = next(own for own in runner.metrics if own.name == name)
    return runner.needs == "outputs" and _is_a_matter_of_rounding(runner, graph, metric, values)


def _are_close(values: tuple[float, float]) -> bool:
    return isclose(*values, rel_tol=TOLERANCE, abs_tol=TOLERANCE)


def _is_a_matter_of_rounding(runner: RunnerBase, graph: MaseGraph, metric: Metric, values: tuple[float, float]) -> bool:
    difference = abs(values[0] - values[1])
    counts_samples = metric.range == (0.0, 1.0)
    whole = 1.0 if counts_samples else max(map(abs, values))
    if sums_are_exact(graph) or difference > ROUNDING_SHARE * whole:
        return False
    samples = sum(len(y) for _, y in runner.data_module.batches(*row_key(runner))) if counts_samples else 0
    logger.warning(
        "%s: layers in float32, or in formats with rounded sums, change by %.2g with the order of their sums%s",
        metric.name,
        difference,
        f" (about {difference * samples:.0f} of {samples} samples)" if counts_samples else "",
    )
    return True
