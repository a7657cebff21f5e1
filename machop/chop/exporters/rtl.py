"""The exporters `verilog` and `vhdl`: a network as a pipelined circuit, with a test bench that checks itself."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar

import numpy as np
from annotated_types import Ge, Gt
from numpy.typing import NDArray

from chop.circuits import integer_network
from chop.circuits.alkaid_trace import EXTRA, Circuit, traced
from chop.circuits.ebops import STAGE_BITS, ebops_of, stage_bits
from chop.circuits.facts import CLOCK_PERIOD, LATENCY_CUTOFF, checked_outputs
from chop.circuits.network import IntegerNetwork
from chop.circuits.network_costs import network_costs
from chop.circuits.rtl import (
    PROGRAMS,
    Language,
    Rtl,
    RtlOptions,
    files_of,
    missing_programs,
    rtl_of,
    simulated,
    vectors_of,
)
from chop.circuits.stages import Port
from chop.errors import CircuitError
from chop.exporters.base import EXPORTERS, Check, ExportNetwork, Written
from chop.exporters.circuit_exporter import CircuitExporter
from chop.exporters.integer_layers import FLOAT_BITS
from chop.exporters.rtl_usage import usage
from chop.tools.files import write_whole
from chop.tools.logger import get_logger

logger = get_logger(__name__)

INTERPRETER = "alkaid's integer interpreter"


@dataclass(frozen=True)
class CircuitForm:
    """Where registers stand, and whether the files are simulated.

    `latency_cutoff`: the delay between two registers, in alkaid's unit (about that of one adder); `n_stages`: so many
    stages in its place, 0 for none; `clock_period`: nanoseconds of a clock cycle, a constraint for synthesis;
    `fuses_adders`: form adders of three numbers, for Vivado and Quartus; `simulates`: run the test bench where a
    simulator is installed; `most_luts`: refuse a network with more EBOPs, which are about its LUTs; `name`: the top
    module is called so, with _net behind (absent: the model's).
    """

    latency_cutoff: Annotated[float, Gt(0)] = LATENCY_CUTOFF
    n_stages: Annotated[int, Ge(0)] | None = None
    clock_period: Annotated[float, Gt(0)] = CLOCK_PERIOD
    fuses_adders: bool = True
    simulates: bool = True
    most_luts: Annotated[int, Gt(0)] = 1_000_000
    name: str = ""


class RtlExporter(CircuitExporter):
    """A network as a circuit in `language`."""

    Options = CircuitForm
    extra = EXTRA
    modules = ("alkaid.codegen",)
    distributions = ("alkaid",)
    language: ClassVar[Language]

    def __init__(self, options: Any = None) -> None:
        super().__init__(options)
        self._last: tuple[ExportNetwork, tuple[IntegerNetwork, Circuit, Rtl]] | None = None

    def problems(self, network: ExportNetwork) -> list[str]:
        """All reasons, by node, why no integer circuit computes the network."""
        try:
            integers = integer_network(network.graph, network.example())
        except CircuitError as error:
            return list(error.problems) or [str(error)]
        if integers.output.is_constant.all():
            return [
                "output: it is the same for all inputs: weights are all zero, or ranges too small for the values; "
                "choose smaller fraction widths, or leave them open, or give the layers more bits"
            ]
        luts, most = float(ebops_of(network_costs(integers, stage_bits, STAGE_BITS))["ebops"]), self.options.most_luts
        if luts > most:
            sizes = f"about {luts:,.0f} LUTs, more than most_luts = {most:,}"
            return [f"the whole network: {sizes}, with all layers unrolled: choose fewer bits, or raise most_luts"]
        return []

    def write(self, network: ExportNetwork, folder: Path) -> Written:
        """Sources in `src`, the test bench with the whole test set in `sim`."""
        integers, circuit, rtl = self._made(network)
        inputs = (x for x, _ in network.data.batches("test", None))
        vectors = vectors_of(rtl, integers, inputs)
        for name, text in files_of(rtl, vectors).items():
            write_whole(folder / name, text)
        luts = float(circuit.logic.cost)
        text = usage(rtl, integers.port_nodes, luts, vectors.outputs.size)
        return Written({**facts_of(rtl, integers), "luts": luts}, text, tuple(self._notes(integers, rtl)))

    def checks(self, network: ExportNetwork, folder: Path) -> Iterator[Check]:
        """Alkaid's interpreter against the network, and a simulator, if there is one, against the integer network.

        The interpreter must equal the integer network as well; and the network in float32, where that holds the sums.
        """
        integers, circuit, rtl = self._made(network)
        pairs = ((checked_outputs(circuit, integers, x), wanted) for x, wanted in network.predictions())
        fits = max(integers.accumulators.values()) <= FLOAT_BITS
        yield Check.of(INTERPRETER, pairs, required=fits)
        if not fits:
            exact = ((checked_outputs(circuit, integers, x), integers(x)) for x, _ in network.predictions())
            yield Check.of(f"{INTERPRETER}, against the network in integers", exact)
        if self.options.simulates and not missing_programs(self.language):
            logger.info(
                "%s compiles the circuit and runs its test bench, up to minutes for a large one; the option "
                "simulates = false (--set simulates=false) leaves this out",
                PROGRAMS[self.language][0],
            )
            found = simulated(rtl, folder)
            most = (2**rtl.output.bits - 1) * 2.0**-rtl.output.frac if found.differing else 0.0
            yield Check(f"{found.tool}, the test bench in sim/", found.outputs, found.differing, most)

    def _made(self, network: ExportNetwork) -> tuple[IntegerNetwork, Circuit, Rtl]:
        """The circuit of a network; that of the last network is kept, since alkaid takes up to minutes."""
        if self._last is None or self._last[0] is not network:
            self._last = network, self._make(network)
        return self._last[1]

    def _make(self, network: ExportNetwork) -> tuple[IntegerNetwork, Circuit, Rtl]:
        integers = integer_network(network.graph, network.example())
        circuit, own = traced(integers), self.options
        options = RtlOptions(
            self.language,
            own.name or network.name,
            own.latency_cutoff,
            own.n_stages,
            own.clock_period,
            own.fuses_adders,
        )
        return integers, circuit, rtl_of(circuit, integers, options)

    def _notes(self, integers: IntegerNetwork, rtl: Rtl) -> Iterator[str]:
        if (name := self.options.name) and rtl.top != f"{name}_net":
            yield f"the top module is called {rtl.top}: name = {name!r} is no plain name of letters, digits and _"
        if integers.outside:
            yield f"in float, in front of the circuit and not in it: {', '.join(integers.outside)}"
        missing = missing_programs(self.language)
        if missing or not self.options.simulates:
            why = f"not installed: {', '.join(missing)}" if missing else "simulates = false"
            yield f"the {self.language} was not simulated ({why}): alkaid's interpreter ran its logic"
        bits = integers.accumulators
        widest = max(bits, key=bits.__getitem__)
        if bits[widest] > FLOAT_BITS:
            yield (
                f"{widest} has sums of {bits[widest]} bits, which float32 rounds: the circuit equals the network in "
                "integers, and may differ from that in float32"
            )


@EXPORTERS.register("verilog")
class Verilog(RtlExporter):
    """A pipelined circuit in Verilog, all layers unrolled, with a test bench that Verilator runs if there is one."""

    language = "verilog"


@EXPORTERS.register("vhdl")
class Vhdl(RtlExporter):
    """A pipelined circuit in VHDL, all layers unrolled, with a test bench that GHDL runs if there is one."""

    language = "vhdl"


def facts_of(rtl: Rtl, integers: IntegerNetwork) -> dict[str, Any]:
    """The facts of a circuit in the manifest."""
    ports = {port.name: port for port in integers.ports}
    return {
        "top": rtl.top,
        "sources": list(rtl.sources),
        "inputs": [{**asdict(word), "rounding": rounding_of(ports[word.node])} for word in rtl.inputs],
        "output": asdict(rtl.output),
        "cycles": rtl.cycles,
        "clock_period_ns": rtl.clock_period,
        "latency_ns": rtl.latency,
        "flip_flops": rtl.flip_flops,
        "luts_as_written": rtl.luts,
        "accumulator_bits": dict(integers.accumulators),
        "outside": list(integers.outside),
    }


def rounding_of(port: Port) -> Mapping[str, Any]:
    """How float values become codes at a port: in steps of 2^-frac, then clamped; one number, or one an element."""
    grid = port.grid
    ends = {"frac": grid.frac, "low": grid.low, "high": grid.high}
    return {"rounds": "down" if grid.rounds_down else "half to even", **{key: _plain(own) for key, own in ends.items()}}


def _plain(numbers: NDArray[np.int64]) -> Any:
    return int(numbers.flat[0]) if np.all(numbers == numbers.flat[0]) else numbers.tolist()
