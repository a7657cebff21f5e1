"""The runner `simulation_time`: times the simulation of a quantised network on this machine, not on any chip."""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass
from math import inf
from typing import Annotated, Any

import torch
from annotated_types import Ge, Gt

from chop.actions.search.strategies.runners.base import RUNNERS, ModelRunner
from chop.actions.search.strategies.runners.basic_evaluation import Part
from chop.dataset.data import Data, first_batch
from chop.ir import MaseGraph
from chop.ir.graph.inputs import placeholder_values
from chop.scoring.metric import Metric


@dataclass(frozen=True)
class SimulationTimeOptions:
    """Number of repetitions, and the samples to run on."""

    data_loader: Part = "val_dataloader"
    num_samples: Annotated[int, Gt(0)] = 64
    repeats: Annotated[int, Ge(3)] = 15


@RUNNERS.register("simulation_time")
class SimulationTime(ModelRunner):
    """Measured wall-clock seconds of one forward pass in float simulation: median and interquartile range.

    It says how fast this simulation is. For a device, use `latency`.
    """

    Options = SimulationTimeOptions

    @classmethod
    def metrics_of(cls, data_module: Data | None) -> tuple[Metric, ...]:
        return (
            Metric("simulation_time", "s", "minimize", (0.0, inf)),
            Metric("simulation_time_iqr", "s", "minimize", (0.0, inf)),
        )

    def measure(self, graph: MaseGraph) -> dict[str, float]:
        rows = self.options.num_samples
        x, _ = first_batch(self.data_module, self.options.data_loader, rows, rows)
        inputs = placeholder_values(graph, x)
        seconds = [self._one_run(graph, inputs) for _ in range(self.options.repeats + 1)][1:]
        low, median, high = statistics.quantiles(seconds, n=4)
        return {"simulation_time": median, "simulation_time_iqr": high - low}

    @staticmethod
    @torch.no_grad()
    def _one_run(graph: MaseGraph, inputs: list[Any]) -> float:
        start = time.perf_counter()
        graph.model(*inputs)
        return time.perf_counter() - start
