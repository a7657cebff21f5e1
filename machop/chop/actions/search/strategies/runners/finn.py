"""The runner of folded layers: LUTs, memories and cycles of FINN's matrix-vector units."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil, inf, nan, prod
from typing import Annotated

from annotated_types import Ge, Gt

from chop.actions.search.strategies.runners.base import RUNNERS, AnalyticRunner, Formats
from chop.circuits.finn import MatrixVectorUnit, RamStyle
from chop.dataset.data import Data, first_batch
from chop.errors import MetricError, NodeProblem
from chop.formats import Format
from chop.formats.learned import element_widths
from chop.ir import MaseGraph, QuantPlan
from chop.ir.graph.node_costs import NodeCost, node_costs
from chop.scoring.metric import Metric
from chop.weight_transforms import format_of

LAYERS = ("linear", "conv1d", "conv2d", "conv3d")


@dataclass(frozen=True)
class FinnOptions:
    """Options of the runner `finn`.

    `pe`, `simd`: outputs and inputs that a layer computes at a time (0: as `target_cycles` asks for, which a sample may
    take in each layer); `ram_style`: whether weights are in block memories or in LUTs.
    """

    pe: Annotated[int, Ge(0)] = 0
    simd: Annotated[int, Ge(0)] = 0
    target_cycles: Annotated[int, Gt(0)] = 1000
    ram_style: RamStyle = "block"


@RUNNERS.register("finn")
class Finn(AnalyticRunner):
    """LUTs, block memories and cycles of layers folded onto few multipliers, by the formulas of FINN-R (1809.04570).

    Each linear or convolutional layer is a matrix-vector unit that works on its own, one behind the other:
    `finn_cycles` are those between two samples (of the slowest layer), `finn_latency` those of one sample through all
    layers at the most. All layers need formats of whole numbers for input and weight. Pruned weights count.
    """

    Options = FinnOptions
    measures_float = False
    greatest = frozenset({2})

    @classmethod
    def metrics_of(cls, data_module: Data | None) -> tuple[Metric, ...]:
        return (
            Metric("finn_luts", "LUT", "minimize", (0.0, inf)),
            Metric("finn_brams", "RAMB18", "minimize", (0.0, inf)),
            Metric("finn_cycles", "cycle", "minimize", (0.0, inf)),
            Metric("finn_latency", "cycle", "minimize", (0.0, inf)),
        )

    def terms(self, cost: NodeCost, formats: Formats) -> tuple[float, ...]:
        if not cost.macs:
            return 0.0, 0.0, 0.0, 0.0
        if _problem(cost, formats):
            return nan, nan, nan, nan
        own = self.options
        unit = unit_of(cost, formats).folded(own.pe, own.simd, own.target_cycles)
        return unit.luts(own.ram_style), unit.memories(own.ram_style), unit.cycles, unit.cycles

    def combine(self, sums: tuple[float, ...]) -> dict[str, float]:
        luts, memories, cycles, latency = sums
        return {"finn_luts": luts, "finn_brams": memories, "finn_cycles": cycles, "finn_latency": latency}

    def total(self, costs: Mapping[str, NodeCost], plan: QuantPlan) -> dict[str, float]:
        _require_units(costs, plan)
        return super().total(costs, plan)

    def require(self, network: MaseGraph, plan: QuantPlan) -> None:
        _require_units(node_costs(network, first_batch(self.data_module, "val_dataloader", 3, 3)[0]), plan)


def _require_units(costs: Mapping[str, NodeCost], plan: QuantPlan) -> None:
    problems = [NodeProblem(name, why) for name, cost in costs.items() if (why := _problem(cost, plan[name]))]
    if problems:
        raise MetricError("the network has no matrix-vector units:", problems=problems)


def _problem(cost: NodeCost, formats: Formats) -> str | None:
    """Why a node that multiplies is no matrix-vector unit; None where it is one, or multiplies nothing."""
    if not cost.macs:
        return None
    if cost.op.name not in LAYERS:
        return f"{cost.op.name} is neither a linear nor a convolutional layer"
    for operand in ("data_in", "weight"):
        chosen = format_of(formats.get(operand))
        if chosen is None or chosen.arithmetic != "integer" or chosen.block_elements(cost.of(operand)[0].shape):
            return f"its {operand} is in {chosen or 'float'}; choose integer, scale_integer or binary"
    return None


def unit_of(cost: NodeCost, formats: Formats) -> MatrixVectorUnit:
    """The matrix-vector unit of a layer, not folded: one output from one input at a time."""
    (weight,), (x,) = cost.of("weight"), cost.of("data_in")
    inputs = format_of(formats["data_in"])
    assert inputs is not None
    return MatrixVectorUnit(
        outputs=weight.shape[0],
        inputs=prod(weight.shape[1:]),
        vectors=cost.macs // weight.elements,
        weight_bits=_widest(format_of(formats["weight"]), weight.shape),
        input_bits=_widest(inputs, x.shape),
        is_signed=getattr(inputs, "is_signed", True),
    )


def _widest(chosen: Format | None, shape: tuple[int, ...]) -> int:
    """Bits of the widest value."""
    assert chosen is not None
    learned = element_widths(chosen)
    if learned is not None:
        return max(1, int(learned.max()))
    return ceil((chosen.bits(shape) - chosen.shared_bits(shape)) / prod(shape))
