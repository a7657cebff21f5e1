"""Defines runners, which measure metrics of configurations.

What a runner `needs`:

- "plan": the formats of all operands, as costs do; the model is not run;
- "outputs": the model's outputs on samples, as accuracies do;
- "model": the quantised network itself, as training and timing do.

A search hands every runner batches of configurations (not of samples) through one method, `measure_batch`: `Plans`
(`protocols.py`) is such a batch, `measuring/plans.py` implements it. Subclass the base that fits (`AnalyticRunner`,
`TableRunner`, `WholePlanRunner`, `OutputRunner`, `ModelRunner`), and that method is written already.
"""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, Literal, cast

import numpy as np
import torch
from torch import Tensor, nn

from chop.actions.calibration import calibrate_for
from chop.actions.search.strategies.runners.checks import as_number, declared_metrics, other_metrics
from chop.actions.search.strategies.runners.protocols import Batches, NetworkCosts, Plans, PlanTable
from chop.actions.setup import traced
from chop.dataset.data import Data, first_batch
from chop.errors import ChopError, MetricError, SearchError, first_line
from chop.evaluation.measures import Measure, Scores, Streamed, WholePredictions, keeps_outputs
from chop.evaluation.plan_runner import PlanRunner
from chop.evaluation.predictions import accumulated
from chop.evaluation.program import Axis
from chop.evaluation.tables import CostTable, added_up
from chop.formats import Format
from chop.ir import MaseGraph, QuantPlan
from chop.ir.graph.node_costs import NodeCost, node_costs
from chop.passes.graph.transforms.quantize import plan_from_config
from chop.registry import Registry, subclass_problem
from chop.scoring.accumulator import Accumulator
from chop.scoring.bounds import SampleValues
from chop.scoring.kept_outputs import KeptOutputs
from chop.scoring.metric import Metric
from chop.tools.user_code import place_in

Needs = Literal["plan", "outputs", "model"]
Formats = Mapping[str, Format]


@dataclass(frozen=True)
class NoOptions:
    """The options of a runner or strategy without options."""


class RunnerBase(ABC):
    """Measures metrics of quantised networks. `Options` is a dataclass: its fields are the keys in a TOML file.

    One that defines `metrics_of` and `__call__` alone is called with each quantised network.

    Raise `definition` by one when the same network gets other figures than before: a search with figures of an earlier
    definition is not resumed, and its figures are not taken over.
    """

    needs: ClassVar[Needs] = "model"
    one_by_one: ClassVar[bool] = True
    """Whether it must be asked about one configuration after the other: nothing serves many in one call."""

    measures_float: ClassVar[bool] = True
    """Whether the FP32 baseline has the metrics; where it has not, its row leaves them out."""

    Options: ClassVar[type[Any]] = NoOptions
    definition: ClassVar[int] = 1

    def __init__(self, data_module: Data | None = None, options: Any = None) -> None:
        self.data_module = cast(Data, data_module)  # None is for runners that ask nothing of data
        self.options = options if options is not None else self.Options()

    @classmethod
    @abstractmethod
    def metrics_of(cls, data_module: Data | None) -> tuple[Metric, ...]:
        """The metrics that the runner returns on this data (None: on any)."""

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """The metrics that this runner returns."""
        return declared_metrics(type(self), self.data_module)

    @cached_property
    def _declared(self) -> frozenset[str]:
        return frozenset(metric.name for metric in self.metrics)

    def measured(self, call: Callable[..., Any], *args: Any) -> dict[str, float]:
        """The metrics that `call`, a method of this runner, returns for `args`.

        Raises MetricError where it fails: the trial fails, and the search goes on. Raises SearchError where it returns
        anything but one number for each metric that the runner declares, which it would for all others.
        """
        try:
            found = call(*args)
        except ChopError:
            raise
        except Exception as error:  # of a plug-in's own code
            where = place_in(call, error)
            raise MetricError(f"runner {type(self).__name__} failed{where}: {first_line(error)}") from error
        if not isinstance(found, Mapping) or found.keys() != self._declared:
            raise SearchError(other_metrics(type(self).__name__, found, self._declared))
        return {name: as_number(value, name, type(self).__name__) for name, value in found.items()}

    def measure_batch(self, plans: Plans) -> Scores:
        """The metrics of all configurations of a batch, `{metric: (configurations,)}`.

        Raises MetricError where a configuration has none, or the runner fails on it.
        """
        found = []
        for graph, config in zip(plans.graphs(), plans.configs(), strict=True):
            with drawn_alike():
                found.append(self.measured(self.__call__, self.data_module, graph, config))
        return as_columns(found)

    def require(self, network: MaseGraph, plan: QuantPlan) -> None:  # noqa: B027 - most measure any network
        """Raise MetricError where networks like this one have no metrics, whatever widths they have; takes no time.

        Asked before networks are trained, so that no training is lost.
        """

    def adapt(self, graph: MaseGraph) -> None:  # noqa: B027 - most runners change nothing
        """Change a quantised network in place as this runner does before measuring: fine-tune it, say."""

    @abstractmethod
    def __call__(
        self, data_module: Data, model: MaseGraph | nn.Module, sampled_config: Mapping[str, Any]
    ) -> dict[str, float]:
        """The metrics of `model` under `sampled_config`, measured alone; `model` is not changed."""


class TableRunner(RunnerBase):
    """Metrics of a plan that a table holds for all points of a product space.

    `is_free`: so cheap that each trial has them, also where no objective or constraint is about them.
    """

    needs = "plan"
    one_by_one = False
    is_free: ClassVar[bool] = True

    @abstractmethod
    def table(self, subject: NetworkCosts, axes: Sequence[Axis]) -> PlanTable:
        """The table of a product space, whose alternatives hold no open ranges."""


class AnalyticRunner(TableRunner):
    """Metrics that are sums over nodes, and a final function of the sums.

    Of the terms in the places `greatest` the greatest counts in place of the sum.
    """

    greatest: ClassVar[frozenset[int]] = frozenset()

    @abstractmethod
    def terms(self, cost: NodeCost, formats: Formats) -> tuple[float, ...]:
        """The terms of one node in the sums when its operands have `formats` (a missing one is float32)."""

    @abstractmethod
    def combine(self, sums: tuple[float, ...]) -> dict[str, float]:
        """The metrics from the sums over all nodes."""

    def total(self, costs: Mapping[str, NodeCost], plan: QuantPlan) -> dict[str, float]:
        """The metrics of a plan."""
        rows = [self.terms(cost, plan[name]) for name, cost in costs.items()]
        return self.measured(self.combine, added_up(rows, self.greatest))

    def table(self, subject: NetworkCosts, axes: Sequence[Axis]) -> PlanTable:
        """The metrics of any points of a product space, from the terms of each choice.

        It holds the runner without its data, which no process need be sent then, unless `combine` reads them.
        """
        table = CostTable(self.terms, self.combine, subject.costs, axes, self.greatest, self._declared)
        without_data = copy.copy(self)
        without_data.data_module = cast(Data, None)
        if table.combines_alike(without_data.combine):
            table.combine = without_data.combine
        return table

    def measure_batch(self, plans: Plans) -> Scores:
        return as_columns([self.total(plans.costs, plan) for plan in plans.plans()])

    def __call__(
        self, data_module: Data, model: MaseGraph | nn.Module, sampled_config: Mapping[str, Any]
    ) -> dict[str, float]:
        graph = calibrated_graph(model, sampled_config, data_module)
        x, _ = first_batch(data_module, "val_dataloader", 3, 3)
        return self.total(node_costs(graph, x), plan_from_config(graph, sampled_config))


@dataclass(frozen=True)
class RowOptions:
    """The samples that a runner measures on: the first `num_samples` of a data set, unshuffled; None: all."""

    data_loader: str = "val_dataloader"
    num_samples: int | None = None


class OutputRunner(RunnerBase):
    """Measures metrics that are functions of outputs and targets."""

    needs = "outputs"
    one_by_one = False
    Options: ClassVar[type[Any]] = RowOptions

    def score(self, predictions: Tensor, targets: Tensor) -> dict[str, float]:
        """The metrics of all `predictions` (`(samples, *output)`) for `targets` (`(samples, …)`).

        A runner has this or an `accumulator`. MetricError says that this network has none: its trial fails, and the
        search goes on.
        """
        raise NotImplementedError("a runner of outputs has score(predictions, targets) or an accumulator")

    def accumulator(self, by_sample: bool = False) -> Accumulator:
        """A new accumulator of this runner's metrics; `by_sample`: also the value of each sample.

        Unless a runner has one that takes outputs batch by batch, all outputs are kept for `score`.
        """
        return _AllOutputs(self)

    def scored(self, batches: Batches) -> dict[str, float]:
        """The metrics of outputs and targets that come batch by batch."""
        return self.result(accumulated(self.accumulator(), batches))

    def result(self, accumulator: Accumulator) -> dict[str, float]:
        """The result of an accumulator, checked."""
        return self.measured(accumulator.result)

    def row_values(self, predictions: Tensor, targets: Tensor) -> dict[str, SampleValues]:
        """The values sample by sample of metrics that are means over samples, which early stopping can bound.

        A metric that is left out may have any value on samples that were not seen. Asked for where all outputs are
        kept; an `accumulator` of its own has them itself.
        """
        return {}

    def batched(self, targets: Tensor, example: Tensor) -> Measure:
        """Scores the outputs of many configurations at once; `example` is the output of one sample."""
        names = [metric.name for metric in self.metrics]
        if keeps_outputs(self.accumulator, targets, example):
            return WholePredictions(targets, self._scored_at_once, example, names)
        return Streamed(self.accumulator, self.result, targets, example, names)

    def _scored_at_once(self, predictions: Tensor, targets: Tensor) -> dict[str, float]:
        return self.scored([(predictions, targets)])

    def measure_batch(self, plans: Plans) -> Scores:
        return as_columns([self.scored(batches) for batches in plans.outputs(*row_key(self))])

    def __call__(
        self, data_module: Data, model: MaseGraph | nn.Module, sampled_config: Mapping[str, Any]
    ) -> dict[str, float]:
        graph = calibrated_graph(model, sampled_config, data_module)
        batches = data_module.batches(self.options.data_loader, self.options.num_samples, None)
        run = PlanRunner(graph, batches, output=data_module.output)
        return self.scored(run.stream(plan_from_config(graph, sampled_config)))


class _AllOutputs(KeptOutputs):
    """Keeps all outputs for a runner that scores them at once."""

    def __init__(self, runner: OutputRunner) -> None:
        super().__init__()
        self.is_needed = True
        self._runner = runner

    def result(self) -> dict[str, float]:
        return self._runner.measured(self._runner.score, *self.joined())

    def sample_values(self) -> dict[str, SampleValues]:
        return self._runner.row_values(*self.joined())


def row_key(runner: RunnerBase) -> tuple[str, int | None]:
    """The data set and the number of samples of a runner: equal for runners that measure on the same samples."""
    return runner.options.data_loader, runner.options.num_samples


class ModelRunner(RunnerBase):
    """Measures metrics that need the network itself."""

    @abstractmethod
    def measure(self, graph: MaseGraph) -> dict[str, float]:
        """The metrics of a quantised graph, which belongs to this call alone."""

    def measure_batch(self, plans: Plans) -> Scores:
        found = []
        for graph in plans.graphs():
            with drawn_alike():
                found.append(self.measured(self.measure, graph))
        return as_columns(found)

    def __call__(
        self, data_module: Data, model: MaseGraph | nn.Module, sampled_config: Mapping[str, Any]
    ) -> dict[str, float]:
        graph = copy.deepcopy(calibrated_graph(model, sampled_config, data_module))
        graph.apply_plan(plan_from_config(graph, sampled_config))
        return self.measured(self.measure, graph)


def tabled_runners(runners: Iterable[RunnerBase]) -> list[TableRunner]:
    """The runners whose metrics come from tables for any number of points."""
    return [runner for runner in runners if isinstance(runner, TableRunner)]


def output_runners(runners: Iterable[RunnerBase]) -> list[OutputRunner]:
    """The runners that score outputs, which come from one shared run of the network."""
    return [runner for runner in runners if isinstance(runner, OutputRunner)]


@contextmanager
def drawn_alike() -> Iterator[None]:
    """Context in which torch draws the same random numbers each time; the state outside is unchanged."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


def as_columns(rows: Sequence[Mapping[str, float]]) -> Scores:
    """The metrics of configurations as one array per metric."""
    return {name: np.array([row[name] for row in rows], dtype=np.float64) for name in rows[0]}


def calibrated_graph(model: MaseGraph | nn.Module, sampled_config: Mapping[str, Any], data_module: Data) -> MaseGraph:
    """The graph of a model (or the graph itself), calibrated if the formats need ranges of activations."""
    graph = model if isinstance(model, MaseGraph) else traced(model, data_module)
    calibrate_for(graph, sampled_config, data_module)
    return graph


SWRunnerBase = RunnerBase
HWRunnerBase = RunnerBase

RUNNERS: Registry[type[RunnerBase]] = Registry(
    "chop.runners",
    "runner",
    (
        "chop.actions.search.strategies.runners.basic_evaluation",
        "chop.actions.search.strategies.runners.basic_train",
        "chop.actions.search.strategies.runners.circuits",
        "chop.actions.search.strategies.runners.energy",
        "chop.actions.search.strategies.runners.finn",
        "chop.actions.search.strategies.runners.hardware",
        "chop.actions.search.strategies.runners.ort_latency",
        "chop.actions.search.strategies.runners.simulation_time",
    ),
    subclass_problem(RunnerBase, "Options"),
)
