"""Runners of costs that follow from formats and shapes: bits, size, FLOPs, BitOPs and modelled latency."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from typing import Annotated, Any

import numpy as np
from annotated_types import Ge, Gt

from chop.actions.search.strategies.runners.base import RUNNERS, AnalyticRunner, Formats
from chop.dataset.data import Data
from chop.formats import FLOAT_BITS
from chop.ir.graph.node_costs import NodeCost
from chop.passes.graph.analysis.costs import bitops, bits_of, macs, stored_bits
from chop.scoring.metric import Metric


@dataclass(frozen=True)
class AverageBitwidthOptions:
    """`compare_to`: the width in bits that `memory_density` compares with."""

    compare_to: Annotated[int, Gt(0)] = 32


@RUNNERS.register("average_bitwidth")
class AverageBitwidth(AnalyticRunner):
    """Bits per value over the operands of layers that multiply-accumulate, and over all other quantised operands.

    Operands are weights, biases and inputs; an unquantised one counts 32 bits.

    Inputs are those of one sample. A parameter that several nodes read counts once, each node's format for its share.
    `average_weight_bits` is of the parameters alone, `average_activation_bits` of all else; without any they are 32.
    `memory_density` is `compare_to / average_bitwidth`.
    """

    Options = AverageBitwidthOptions
    definition = 3

    @classmethod
    def metrics_of(cls, data_module: Data | None) -> tuple[Metric, ...]:
        return (
            Metric("average_bitwidth", "bit", "minimize", (0.0, inf)),
            Metric("average_weight_bits", "bit", "minimize", (0.0, inf)),
            Metric("average_activation_bits", "bit", "minimize", (0.0, inf)),
            Metric("memory_density", "x", "maximize", (0.0, inf)),
        )

    def terms(self, cost: NodeCost, formats: Formats) -> tuple[float, ...]:
        rounded = {operand for operand, chosen in formats.items() if not chosen.is_float}
        counted = [tensor for tensor in cost.tensors if tensor.is_factor or tensor.operand in rounded]
        weights = [tensor for tensor in counted if tensor.is_parameter]
        activations = [tensor for tensor in counted if not tensor.is_parameter]
        return (
            sum(stored_bits(tensor, formats) for tensor in weights),
            sum(tensor.elements / tensor.readers for tensor in weights),
            sum(stored_bits(tensor, formats) for tensor in activations),
            sum(float(tensor.elements) for tensor in activations),
        )

    def combine(self, sums: tuple[float, ...]) -> dict[str, float]:
        weight_bits, weights, activation_bits, activations = sums
        average = _bits_per_value(weight_bits + activation_bits, weights + activations)
        return {
            "average_bitwidth": average,
            "average_weight_bits": _bits_per_value(weight_bits, weights),
            "average_activation_bits": _bits_per_value(activation_bits, activations),
            "memory_density": self.options.compare_to / average,
        }


def _bits_per_value(bits: Any, values: Any) -> Any:
    """Bits per value, of many configurations or of one; 32 if there is no value."""
    is_none = np.equal(values, 0)
    return np.where(is_none, FLOAT_BITS, bits / np.where(is_none, 1, values))[()]


@RUNNERS.register("model_size")
class ModelSize(AnalyticRunner):
    """Bytes of all weights and biases in their formats; a shared one counts once, as the average of its readers.

    Of pruned weights those that are kept count, and their index; in `dense_model_size` all of them.
    """

    definition = 2

    @classmethod
    def metrics_of(cls, data_module: Data | None) -> tuple[Metric, ...]:
        return (
            Metric("model_size", "byte", "minimize", (0.0, inf)),
            Metric("dense_model_size", "byte", "minimize", (0.0, inf)),
        )

    def terms(self, cost: NodeCost, formats: Formats) -> tuple[float, ...]:
        parameters = [tensor for tensor in cost.tensors if tensor.is_parameter]
        return (
            sum(stored_bits(tensor, formats) for tensor in parameters) / 8,
            sum(stored_bits(tensor, formats, dense=True) for tensor in parameters) / 8,
        )

    def combine(self, sums: tuple[float, ...]) -> dict[str, float]:
        return {"model_size": sums[0], "dense_model_size": sums[1]}


@RUNNERS.register("flops")
class Flops(AnalyticRunner):
    """Floating-point operations of the layers that multiply matrices, two per MAC, for one sample.

    Products with pruned weights are left out; `dense_flops` counts them. Number formats play no part.
    """

    @classmethod
    def metrics_of(cls, data_module: Data | None) -> tuple[Metric, ...]:
        return (
            Metric("flops", "FLOP/sample", "minimize", (0.0, inf)),
            Metric("dense_flops", "FLOP/sample", "minimize", (0.0, inf)),
        )

    def terms(self, cost: NodeCost, formats: Formats) -> tuple[float, ...]:
        return 2.0 * macs(cost, formats), 2.0 * cost.macs

    def combine(self, sums: tuple[float, ...]) -> dict[str, float]:
        return {"flops": sums[0], "dense_flops": sums[1]}


@RUNNERS.register("bitops")
class BitOps(AnalyticRunner):
    """BitOPs of one sample: MACs x bits of the input x bits of the weight, without shared scales and exponents.

    Products with pruned weights are left out; `dense_bitops` counts them.
    """

    definition = 2

    @classmethod
    def metrics_of(cls, data_module: Data | None) -> tuple[Metric, ...]:
        return (
            Metric("bitops", "BitOP/sample", "minimize", (0.0, inf)),
            Metric("dense_bitops", "BitOP/sample", "minimize", (0.0, inf)),
        )

    def terms(self, cost: NodeCost, formats: Formats) -> tuple[float, ...]:
        return bitops(cost, formats), bitops(cost, formats, dense=True)

    def combine(self, sums: tuple[float, ...]) -> dict[str, float]:
        return {"bitops": sums[0], "dense_bitops": sums[1]}


@dataclass(frozen=True)
class LatencyOptions:
    """A device: its peak rate, its memory bandwidth, and the start-up time of each layer.

    The default is a made-up microcontroller-class part: 64 8-bit multiply-accumulates a cycle at 100 MHz
    (64 · 64 BitOP · 1e8/s), one 32-bit word a cycle from memory, 2 µs a layer.
    """

    bitops_per_second: Annotated[float, Gt(0)] = 64 * 64 * 1e8
    bytes_per_second: Annotated[float, Gt(0)] = 4e8
    seconds_per_layer: Annotated[float, Ge(0)] = 2e-6


@RUNNERS.register("latency")
class Latency(AnalyticRunner):
    """Modelled seconds of one sample by the roofline model (Williams et al., doi:10.1145/1498765.1498785).

    A layer takes the longer of its arithmetic and its memory traffic, plus a start-up time; layers run one after the
    other. The device is assumed to skip pruned weights.
    """

    definition = 2

    Options = LatencyOptions

    @classmethod
    def metrics_of(cls, data_module: Data | None) -> tuple[Metric, ...]:
        return (Metric("latency", "s/sample", "minimize", (0.0, inf)),)

    def terms(self, cost: NodeCost, formats: Formats) -> tuple[float, ...]:
        arithmetic = bitops(cost, formats) / self.options.bitops_per_second
        traffic = sum(bits_of(tensor, formats) for tensor in cost.tensors) / 8 / self.options.bytes_per_second
        start = self.options.seconds_per_layer if cost.macs or cost.of("data_out") else 0.0
        return (max(arithmetic, traffic) + start,)

    def combine(self, sums: tuple[float, ...]) -> dict[str, float]:
        return {"latency": sums[0]}
