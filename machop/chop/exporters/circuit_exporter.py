"""The base of exporters that write a network as an integer circuit."""

from __future__ import annotations

from typing import Any, ClassVar

from chop.exporters.base import Exporter
from chop.exporters.choices import Choices, Refused
from chop.exporters.circuit_choices import refused_by_circuits
from chop.ir import MaseGraph


class CircuitExporter(Exporter):
    """Writes integer circuits, for FPGAs: what `chop.circuits` takes, it takes.

    Batch norms are folded, or made products and sums, before formats are chosen. A subclass that cannot write all
    circuits says so by `format_problem`, and by `starts_in_float` = False where nothing may be computed in float in
    front of the first rounding, outside of the circuit.
    """

    target: ClassVar[str | None] = "fpga"
    float_passes: ClassVar[tuple[str, ...]] = ("fold_batch_norm", "absorb_batch_norm")
    starts_in_float: ClassVar[bool] = True

    @classmethod
    def refused(cls, graph: MaseGraph, example: Any, choices: Choices) -> Refused:
        circuits = refused_by_circuits(graph, example, choices, cls.starts_in_float)
        return circuits.joined(super().refused(graph, example, choices))
