"""Runners of costs as circuits have them: EBOPs by exact ranges, LUTs and latency by layer and of whole circuits."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import inf
from pathlib import Path
from typing import Annotated, Any, cast

import numpy as np
from annotated_types import Gt
from numpy.typing import NDArray
from torch import nn

from chop.actions.search.strategies.runners.base import RUNNERS, TableRunner, as_columns, calibrated_graph
from chop.actions.search.strategies.runners.protocols import NetworkCosts, Plans
from chop.actions.search.strategies.runners.whole_plan import WholePlanOptions, WholePlanRunner
from chop.circuits.alkaid_trace import load_alkaid, traced
from chop.circuits.ebops import STAGE_BITS, ebops_of, stage_bits
from chop.circuits.facts import CLOCK_PERIOD, LATENCY_CUTOFF, checked_outputs, circuit_costs
from chop.circuits.from_graph import integer_network, network_of_plan, require_circuit
from chop.circuits.network import IntegerNetwork
from chop.circuits.network_costs import StageCosts, network_costs
from chop.circuits.plan_costs import PlanCosts
from chop.circuits.solutions import Solutions, default_folder
from chop.circuits.stage_luts import STAGE_LUTS, MissingPieces, StageLuts, solve
from chop.circuits.steps import steps_of
from chop.dataset.data import Data, first_batch
from chop.errors import CircuitError, MetricError
from chop.evaluation.measures import Scores
from chop.evaluation.program import Axis
from chop.evaluation.walk import Codes
from chop.executors import Jobs
from chop.executors.patient import SECONDS_ALONE, PatientExecutor
from chop.ir import MaseGraph, QuantPlan
from chop.passes.graph.transforms.quantize import plan_from_config
from chop.report.search_progress import each_shown
from chop.scoring.metric import Metric


@dataclass
class CircuitTable:
    """The metrics of circuits, for any configurations of a product space."""

    costs: PlanCosts
    runner: CircuitRunner
    axes: int

    def scores(self, codes: Codes) -> Scores:
        """The metrics of configurations `(configurations, axes)`; NaN where one has no circuit."""
        return self.runner.metrics_from(self.costs.sums(codes))

    def prepare(self, codes: Codes, jobs: Jobs) -> None:
        """Solve what these configurations need and nobody has solved, by as many calls at a time as `jobs` says.

        What they share with others is added up here, so that no worker does it again.
        """
        self.runner.solve_missing(self.costs, codes, jobs)
        self.costs.sums(codes)


class CircuitRunner(TableRunner):
    """Metrics that are sums over the stages of the integer network; a plan without one has none, nor has FP32."""

    measures_float = False

    @cached_property
    def stage_costs(self) -> StageCosts:
        """The costs of a stage, `width` numbers."""
        raise NotImplementedError

    width: int

    def solve_missing(self, costs: PlanCosts, codes: Codes, jobs: Jobs) -> None:
        """Solve what the costs of configurations need, before they are added up."""

    def metrics_from(self, sums: NDArray[np.float64]) -> Scores:
        """The metrics from sums `(…, width)`."""
        raise NotImplementedError

    def table(self, subject: NetworkCosts, axes: Sequence[Axis]) -> CircuitTable:
        steps = steps_of(subject.network, self._example, axes)
        without_data = copy.copy(self)
        without_data.data_module = cast(Data, None)  # which no process need be sent
        return CircuitTable(PlanCosts(steps, self.stage_costs, self.width), without_data, len(axes))

    def measure_batch(self, plans: Plans) -> Scores:
        return as_columns([self._total(plans.network, plan) for plan in plans.plans()])

    def _total(self, graph: MaseGraph, plan: QuantPlan) -> dict[str, float]:
        sums = network_costs(self._network(graph, plan), self.stage_costs, self.width)
        return {name: float(value) for name, value in self.metrics_from(sums).items()}

    def _network(self, graph: MaseGraph, plan: QuantPlan) -> IntegerNetwork:
        try:
            return network_of_plan(graph, graph.freeze(plan), self._example)
        except CircuitError as error:
            raise MetricError.of(error) from error

    @property
    def _example(self) -> Any:
        return first_batch(self.data_module, "val_dataloader", 3, 3)[0]

    def require(self, network: MaseGraph, plan: QuantPlan) -> None:
        _require_circuit(network, plan, self._example)

    def __call__(
        self, data_module: Data, model: MaseGraph | nn.Module, sampled_config: Mapping[str, Any]
    ) -> dict[str, float]:
        graph = calibrated_graph(model, sampled_config, data_module)
        return self._total(graph, plan_from_config(graph, sampled_config))


@RUNNERS.register("ebops")
class Ebops(CircuitRunner):
    """Effective bit operations of one sample (arXiv:2405.00645, as HGQ2 counts them): bits x bits that matter.

    A product counts the bits of its activation, by the exact range of what reaches the layer, times the bits of the
    weight from its highest to its lowest non-zero bit; what no path uses counts nothing. `ebops_nominal` takes the
    widths of the activations' formats instead. All layers need integer formats, biases too.
    """

    width = STAGE_BITS
    definition = 2

    @classmethod
    def metrics_of(cls, data_module: Data | None) -> tuple[Metric, ...]:
        return (
            Metric("ebops", "EBOP/sample", "minimize", (0.0, inf)),
            Metric("ebops_nominal", "EBOP/sample", "minimize", (0.0, inf)),
        )

    @cached_property
    def stage_costs(self) -> StageCosts:
        return stage_bits

    def metrics_from(self, sums: NDArray[np.float64]) -> Scores:
        return ebops_of(sums)


@dataclass(frozen=True)
class LutsOptions:
    """Options of the runner `luts`.

    `cache`: the folder that keeps solved layers (absent: the user's cache folder); `latency_cutoff`: the delay between
    two registers in alkaid's unit, about that of an adder; `clock_period`: nanoseconds of a cycle.
    """

    cache: str = ""
    latency_cutoff: Annotated[float, Gt(0)] = LATENCY_CUTOFF
    clock_period: Annotated[float, Gt(0)] = CLOCK_PERIOD


@RUNNERS.register("luts")
class Luts(CircuitRunner):
    """LUTs and latency of the fully unrolled circuit, added up over layers that alkaid solves once each (extra `fpga`).

    `luts` ("plain") is what synthesis confirms, `luts_fused` has adders of three numbers, as HGQ2 states them.
    `fpga_cycles`, `fpga_latency` and `flip_flops` (an estimate) are those of a pipeline through all layers. The runner
    `circuit` has the whole circuit's figures. All layers need integer formats, biases too.
    """

    Options = LutsOptions
    is_free = False
    width = STAGE_LUTS

    @classmethod
    def metrics_of(cls, data_module: Data | None) -> tuple[Metric, ...]:
        return (
            Metric("luts", "LUT", "minimize", (0.0, inf)),
            Metric("luts_fused", "LUT", "minimize", (0.0, inf)),
            Metric("fpga_cycles", "cycle", "minimize", (0.0, inf)),
            Metric("fpga_latency", "ns", "minimize", (0.0, inf)),
            Metric("flip_flops", "bit", "minimize", (0.0, inf)),
        )

    @cached_property
    def stage_costs(self) -> StageCosts:
        load_alkaid()
        return StageLuts(Solutions(Path(self.options.cache).expanduser() if self.options.cache else default_folder()))

    def metrics_from(self, sums: NDArray[np.float64]) -> Scores:
        luts, fused, depth, waiting, half_of_inputs = np.moveaxis(sums, -1, 0)
        cycles = np.maximum(np.ceil(depth / self.options.latency_cutoff), 1.0)
        between_registers = np.where(depth > 0, depth, 1.0) / cycles
        return {
            "luts": luts,
            "luts_fused": fused,
            "fpga_cycles": cycles,
            "fpga_latency": cycles * self.options.clock_period,
            "flip_flops": waiting / between_registers + half_of_inputs,
        }

    def solve_missing(self, costs: PlanCosts, codes: Codes, jobs: Jobs) -> None:
        assert isinstance(costs.costs, StageLuts)
        missing = MissingPieces(costs.costs.solutions)
        costs.with_costs(missing).sums(codes)
        longest_first = sorted(missing.pieces.items(), key=lambda item: item[1].size, reverse=True)
        keys, pieces = [key for key, _ in longest_first], [piece for _, piece in longest_first]
        with PatientExecutor(jobs, SECONDS_ALONE) as executor:
            for place, solved in each_shown(executor.map(solve, pieces), "LUTs of layers", len(pieces)):
                missing.solutions.put(keys[place], solved)


@dataclass(frozen=True)
class CircuitOptions(WholePlanOptions):
    """Options of the runner `circuit`.

    `kept_in`: a file in which results are kept from one search to the next (absent: none); `latency_cutoff`,
    `clock_period`: as of the runner `luts`; `num_samples`: validation samples that the circuit is compared on.
    """

    latency_cutoff: Annotated[float, Gt(0)] = LATENCY_CUTOFF
    clock_period: Annotated[float, Gt(0)] = CLOCK_PERIOD
    num_samples: Annotated[int, Gt(0)] = 1024


@RUNNERS.register("circuit")
class WholeCircuit(WholePlanRunner):
    """LUTs, registers and latency of the whole circuit, which is compared with its network on data (extra `fpga`).

    Seconds for each network: leave it to the best ones, beside the objective `luts`. A circuit that differs from its
    network in one output is an error.
    """

    Options = CircuitOptions
    measures_float = False

    @classmethod
    def metrics_of(cls, data_module: Data | None) -> tuple[Metric, ...]:
        return (
            Metric("circuit_luts", "LUT", "minimize", (0.0, inf)),
            Metric("circuit_luts_fused", "LUT", "minimize", (0.0, inf)),
            Metric("circuit_cycles", "cycle", "minimize", (0.0, inf)),
            Metric("circuit_latency", "ns", "minimize", (0.0, inf)),
            Metric("circuit_flip_flops", "bit", "minimize", (0.0, inf)),
        )

    def require(self, network: MaseGraph, plan: QuantPlan) -> None:
        _require_circuit(network, plan, first_batch(self.data_module, "val_dataloader", 3, 3)[0])

    def measure_plan(self, network: MaseGraph, plan: QuantPlan) -> dict[str, float]:
        x = first_batch(self.data_module, "val_dataloader", self.options.num_samples, self.options.num_samples)[0]
        graph = copy.deepcopy(network)
        graph.apply_plan(plan)
        try:
            integers = integer_network(graph, x)
        except CircuitError as error:
            raise MetricError.of(error) from error
        circuit = traced(integers)
        checked_outputs(circuit, integers, x)
        costs = circuit_costs(circuit, self.options.latency_cutoff)
        return {
            "circuit_luts": costs.luts,
            "circuit_luts_fused": costs.luts_fused,
            "circuit_cycles": float(costs.cycles),
            "circuit_latency": costs.cycles * self.options.clock_period,
            "circuit_flip_flops": float(costs.flip_flops),
        }


def _require_circuit(network: MaseGraph, plan: QuantPlan, example: Any) -> None:
    try:
        require_circuit(network, network.freeze(plan), example)
    except CircuitError as error:
        raise MetricError.of(error) from error
