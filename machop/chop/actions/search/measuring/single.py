"""Measures points one by one: the reference that batched evaluation must equal."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from chop.actions.search.measuring.outcome import Measured, Metrics, Outcome
from chop.actions.search.measuring.plans import ChosenPlans, plans_of
from chop.actions.search.measuring.runner_set import RunnerSet
from chop.actions.search.measuring.subject import Subject
from chop.actions.search.search_space.base import Point, SampledConfig
from chop.actions.search.strategies.runners.base import RunnerBase
from chop.actions.search.strategies.runners.checks import check_finite
from chop.actions.search.strategies.runners.protocols import Plans
from chop.errors import MetricError
from chop.ir import QuantPlan

FLOAT_CONFIG: SampledConfig = {"by": "name", "default": {"config": {"name": "NA"}}}


class SingleMeasurement:
    """Measures the points of a space one by one, with all runners that trials need or with some of them."""

    def __init__(self, subject: Subject, runners: RunnerSet, some: Sequence[RunnerBase] | None = None) -> None:
        self.subject = subject
        self.runners = runners
        self._some = runners.needed if some is None else some

    def measure(self, point: Point) -> Measured:
        """The metrics of a point; raises MetricError for a metric that is no finite number."""
        space = self.subject.space
        return self._of(space.plan(point), space.flattened_indexes_to_config(point))

    def outcome(self, point: Point) -> Outcome:
        """The metrics of a point, or the reason why it failed."""
        try:
            return self.measure(point)
        except MetricError as error:
            return error

    def baseline(self) -> Measured:
        """The metrics that the FP32 baseline has, measured like those of any point."""
        return self._of(QuantPlan(), FLOAT_CONFIG, [own for own in self._some if own.measures_float])

    def exact(self, plan: QuantPlan) -> Metrics:
        """The metrics that follow from formats and weights alone."""
        return metrics_of(self.runners.tabled, ChosenPlans(self.subject, [(plan, {})]))

    def require_costs_in_float(self) -> None:
        """Raise what a metric of formats alone raises for the FP32 baseline: it fails for all others too."""
        costs = [own for own in self.runners.free if own.measures_float]
        metrics_of(costs, ChosenPlans(self.subject, [(QuantPlan(), {})]))

    def _of(self, plan: QuantPlan, config: SampledConfig, runners: Sequence[RunnerBase] | None = None) -> Measured:
        metrics = metrics_of(self._some if runners is None else runners, plans_of(self.subject, plan, config))
        check_finite(metrics, "this network")
        return self.runners.by_group(metrics)


def metrics_of(runners: Iterable[RunnerBase], plans: Plans) -> Metrics:
    """The metrics of a batch of one configuration."""
    return {name: float(values[0]) for runner in runners for name, values in runner.measure_batch(plans).items()}
