"""Synthesises a Verilog circuit with Yosys for a Xilinx FPGA, and counts its cells."""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from chop.circuits.rtl.design import Rtl
from chop.circuits.rtl.programs import run_program
from chop.errors import CircuitError

CELL = re.compile(r"^\s+(\w+)\s+(\d+)\s*$", re.MULTILINE)
LUT = re.compile(r"LUT[1-6]")
REPORT = "cells.txt"


@dataclass(frozen=True)
class Synthesis:
    """`cells` by type; carry chains and multiplexers are cells of their own."""

    cells: Mapping[str, int]

    @property
    def luts(self) -> int:
        """Look-up tables of one to six inputs."""
        return sum(count for cell, count in self.cells.items() if LUT.fullmatch(cell))

    @property
    def flip_flops(self) -> int:
        """Registers of one bit."""
        return sum(count for cell, count in self.cells.items() if cell.startswith("FD"))


def has_yosys() -> bool:
    """Whether Yosys can be called."""
    return shutil.which("yosys") is not None


def yosys_version() -> str:
    """The version that Yosys prints of itself."""
    return run_program(["yosys", "-V"], Path.cwd()).strip()


def script_of(rtl: Rtl) -> str:
    """The commands of Yosys for a circuit, where its sources lie."""
    return _script(rtl.sources, rtl.top)


def synthesised(rtl: Rtl) -> Synthesis:
    """Synthesise a Verilog circuit (`synth_xilinx -flatten`): seconds to minutes.

    Raises CircuitError where Yosys is missing or fails.
    """
    if rtl.language != "verilog":
        raise CircuitError("Yosys does not read VHDL")
    return synthesised_sources(rtl.sources, rtl.top)


def synthesised_sources(sources: Mapping[str, str], top: str) -> Synthesis:
    """Synthesise the Verilog module `top` of files by name; raises CircuitError where Yosys is missing or fails."""
    if not has_yosys():
        raise CircuitError("Yosys is not installed")
    with TemporaryDirectory() as made:
        for name, text in sources.items():
            Path(made, name).write_text(text, encoding="utf-8")
        run_program(["yosys", "-q", "-p", _script(sources, top)], Path(made))
        report = Path(made, REPORT).read_text(encoding="utf-8")
    return Synthesis({cell: int(count) for cell, count in CELL.findall(report.split("Number of cells:")[-1])})


def _script(sources: Mapping[str, str], top: str) -> str:
    return f"read_verilog -sv {' '.join(sources)}; synth_xilinx -flatten -top {top}; tee -q -o {REPORT} stat"
