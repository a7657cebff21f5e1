"""Circuits as Verilog and VHDL: written, simulated on data, and synthesised."""

from chop.circuits.rtl.design import Language, Rtl, RtlOptions, module_name, rtl_of
from chop.circuits.rtl.simulation import PROGRAMS, Simulation, missing_programs, simulated
from chop.circuits.rtl.test_bench import Vectors, files_of, vectors_of
from chop.circuits.rtl.words import Word
from chop.circuits.rtl.yosys import Synthesis, has_yosys, synthesised, synthesised_sources

__all__ = [
    "PROGRAMS",
    "Language",
    "Rtl",
    "RtlOptions",
    "Simulation",
    "Synthesis",
    "Vectors",
    "Word",
    "files_of",
    "has_yosys",
    "missing_programs",
    "module_name",
    "rtl_of",
    "simulated",
    "synthesised",
    "synthesised_sources",
    "vectors_of",
]
