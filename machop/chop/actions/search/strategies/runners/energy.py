"""The runner of modelled energy: picojoules of arithmetic and of memory traffic."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf

from chop.actions.search.strategies.runners.base import RUNNERS, AnalyticRunner, Formats
from chop.dataset.data import Data
from chop.ir.graph.node_costs import NodeCost
from chop.passes.graph.analysis.energy import Memory, compute_energy, memory_energy
from chop.scoring.metric import Metric


@dataclass(frozen=True)
class EnergyOptions:
    """Where weights are read from, and where activations are written to and read from."""

    weight_memory: Memory = "sram_32k"
    activation_memory: Memory = "sram_32k"


@RUNNERS.register("energy")
class Energy(AnalyticRunner):
    """Modelled picojoules of one sample in a 45 nm process (Horowitz, ISSCC 2014): arithmetic and memory traffic.

    `energy_compute` are the multiplications and additions of layers that multiply, by widths and kinds of numbers.
    `energy_memory` reads each weight once, and writes and reads each input of such a layer once. Products with pruned
    weights are left out. `energy` is their sum.
    """

    Options = EnergyOptions

    @classmethod
    def metrics_of(cls, data_module: Data | None) -> tuple[Metric, ...]:
        return (
            Metric("energy", "pJ/sample", "minimize", (0.0, inf)),
            Metric("energy_compute", "pJ/sample", "minimize", (0.0, inf)),
            Metric("energy_memory", "pJ/sample", "minimize", (0.0, inf)),
        )

    def terms(self, cost: NodeCost, formats: Formats) -> tuple[float, ...]:
        weights, activations = self.options.weight_memory, self.options.activation_memory
        return compute_energy(cost, formats), memory_energy(cost, formats, weights, activations)

    def combine(self, sums: tuple[float, ...]) -> dict[str, float]:
        compute, memory = sums
        return {"energy": compute + memory, "energy_compute": compute, "energy_memory": memory}
