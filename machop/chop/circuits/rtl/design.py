"""Writes a circuit as Verilog or VHDL: the logic by alkaid's code generator, under a top module with plain ports."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

from chop.circuits.alkaid_trace import Circuit, load_alkaid
from chop.circuits.facts import CLOCK_PERIOD, LATENCY_CUTOFF
from chop.circuits.network import IntegerNetwork
from chop.circuits.rtl.top import Lane, Top, verilog_top, vhdl_top
from chop.circuits.rtl.words import Word
from chop.errors import CircuitError

Language = Literal["verilog", "vhdl"]
SUFFIX: Mapping[Language, str] = {"verilog": ".v", "vhdl": ".vhd"}
PRAGMA = re.compile(r"[ \t]*(// verilator lint_\w+[^\n]*|/\* verilator lint_.*?\*/)\n?")
"""Comments for newer versions of Verilator than those that stop at names that they do not know."""


@dataclass(frozen=True)
class RtlOptions:
    """`name` of the top module (made an identifier, see `module_name`); where registers stand, and for which clock.

    `latency_cutoff` bounds the delay between two registers, in alkaid's unit (about that of one adder). `n_stages`
    takes its place where it is given: so many stages of equal delay; 0 for a circuit without registers. `clock_period`
    in nanoseconds is a constraint for synthesis. `fuses_adders` forms adders of three numbers, which Vivado and Quartus
    put into one carry chain; Yosys does not.
    """

    language: Language = "verilog"
    name: str = "network"
    latency_cutoff: float = LATENCY_CUTOFF
    n_stages: int | None = None
    clock_period: float = CLOCK_PERIOD
    fuses_adders: bool = True


@dataclass(frozen=True)
class Rtl:
    """A circuit in a hardware description language.

    `sources` are texts by file name, in an order in which they can be compiled; `top` is the module with the ports
    `inputs` and `output`, and with `clk` unless `cycles` is 0. A sample comes in each clock cycle; its result stands at
    the output `cycles` edges after the edge that took it in. `luts` are alkaid's figure for this very logic.
    """

    language: Language
    top: str
    sources: Mapping[str, str]
    inputs: tuple[Word, ...]
    output: Word
    cycles: int
    flip_flops: int
    luts: float
    clock_period: float

    @property
    def latency(self) -> float:
        """Nanoseconds from input to output at the clock period."""
        return self.cycles * self.clock_period

    @property
    def constraints(self) -> str:
        """The clock, as Vivado (.xdc) and Quartus (.sdc) read it; empty for a circuit without registers."""
        return f"create_clock -period {self.clock_period:g} -name clk [get_ports clk]\n" if self.cycles else ""


def module_name(name: str) -> str:
    """An identifier of Verilog and of VHDL, which is no keyword of theirs.

    >>> module_name("jsc-toy"), module_name("../8 bits__"), module_name("module")
    ('jsc_toy_net', 'n_8_bits_net', 'module_net')
    """
    plain = re.sub(r"[^A-Za-z0-9]+", "_", name).strip("_")[:80].rstrip("_")
    return f"{plain if plain[:1].isalpha() else f'n_{plain}'.rstrip('_')}_net"


def rtl_of(circuit: Circuit, network: IntegerNetwork, options: RtlOptions | None = None) -> Rtl:
    """The circuit of a network (`traced`) as text.

    Raises CircuitError where alkaid is missing, and for a network whose output is constant.
    """
    options = options or RtlOptions()
    if circuit.logic is None:
        raise CircuitError("the output of the network is constant: there is no logic to write")
    top, model = module_name(options.name), _alkaid_model(circuit, options)
    inputs = _inputs(network)
    output = Word.of("y", network.stages[-1].name, network.output)
    ports = Top(top, f"{top}_core", inputs, output, *_lanes(circuit, network, model), clocked=_is_clocked(options))
    sources = _logic(model, top, options.language)
    text = verilog_top(ports) if options.language == "verilog" else vhdl_top(ports)
    cycles = int(model.latency) if ports.clocked else 0
    sources[f"{top}{SUFFIX[options.language]}"] = text
    return Rtl(
        options.language,
        top,
        sources,
        inputs,
        output,
        cycles,
        flip_flops=int(model.reg_bits),
        luts=float(model._comb.cost),
        clock_period=options.clock_period,
    )


def _is_clocked(options: RtlOptions) -> bool:
    return options.n_stages != 0


def _alkaid_model(circuit: Circuit, options: RtlOptions) -> Any:
    """Alkaid's model of the circuit with its registers."""
    stages: dict[str, float] = {}
    if options.n_stages:
        stages = {"n_stages": options.n_stages}
    elif _is_clocked(options):
        stages = {"latency_cutoff": options.latency_cutoff}
    return load_alkaid().codegen.RTLModel(
        circuit.logic,
        "circuit",
        f"{module_name(options.name)}_core",
        flavor=options.language,
        ternary_fuse=options.fuses_adders,
        **stages,
    )


def _inputs(network: IntegerNetwork) -> tuple[Word, ...]:
    """The input ports: `x`, or `x0`, `x1`, … where there are more."""
    ports = network.ports
    names = ["x"] if len(ports) == 1 else [f"x{number}" for number in range(len(ports))]
    return tuple(Word.of(name, port.name, network.ranges[port.name]) for name, port in zip(names, ports, strict=True))


def _lanes(circuit: Circuit, network: IntegerNetwork, model: Any) -> tuple[list[Lane], list[Lane | int]]:
    """The lane of a port for each element that the logic reads, and what each element of the output is.

    That is a lane of the logic's own output, or a constant code.
    """
    (read,), (written,) = model.fsm.inp_signals, model.fsm.out_signals
    places = [(port.name, int(element)) for port in network.ports for element in circuit.inputs[port.name]]
    ports = {word.node: word for word in _inputs(network)}
    lanes, start = [], 0
    for (node, element), precision in zip(places, read.precisions, strict=True):
        lane = Lane(ports[node], element, start, *map(int, precision))
        lanes.append(lane)
        start += lane.bits
    output = Word.of("y", network.stages[-1].name, network.output)
    results: list[Lane | int] = [int(code) for code in network.output.low.ravel()]
    start = 0
    for element, precision in zip(circuit.varies.ravel().nonzero()[0].tolist(), written.precisions, strict=True):
        lane = Lane(output, element, start, *map(int, precision))
        results[element] = lane
        start += lane.bits
    return lanes, results


def _logic(model: Any, top: str, language: Language) -> dict[str, str]:
    """Alkaid's files by name, what is used before what uses it; the names of its parts begin with that of the top."""
    suffix, core = SUFFIX[language], f"{top}_core"
    with TemporaryDirectory() as made:
        model._path = Path(made)
        model.write()
        static = sorted(Path(made, "src", "static").glob(f"*{suffix}"))
        own = sorted(Path(made, "src").glob(f"*{suffix}"))
        parts = [path for path in own if path.stem not in (core, f"{core}_wrapper")]
        files = [*static, *parts, Path(made, "src", f"{core}{suffix}")]
        texts = {path.name: PRAGMA.sub("", path.read_text(encoding="utf-8")) for path in files}
    return {_renamed(name, top): _renamed(text, top) for name, text in texts.items()}


def _renamed(text: str, top: str) -> str:
    return re.sub(r"\blogic(\d+)\b", rf"{top}_logic\1", text)
