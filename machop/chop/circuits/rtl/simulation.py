"""Simulates a circuit with its own test bench on its own vectors: Verilog with Verilator, VHDL with GHDL."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from chop.circuits.rtl.design import SUFFIX, Language, Rtl
from chop.circuits.rtl.programs import run_program
from chop.circuits.rtl.test_bench import BENCH, EXPECTED, SOURCES, VECTORS, VERDICT, bench_name
from chop.errors import CircuitError

PROGRAMS: Mapping[Language, tuple[str, ...]] = {"verilog": ("verilator", "g++", "make"), "vhdl": ("ghdl",)}
"""The programs of a simulation; the first simulates."""

VERDICTS = re.compile(rf"(?:PASS|FAIL): (\d+) of (\d+) {VERDICT}")


@dataclass(frozen=True)
class Simulation:
    """The counts of a test bench: `differing` of `outputs` elements. `tool` is the simulator with its version."""

    tool: str
    outputs: int
    differing: int


def missing_programs(language: Language) -> tuple[str, ...]:
    """The programs that a simulation lacks here; none where it can run."""
    return tuple(program for program in PROGRAMS[language] if shutil.which(program) is None)


def simulated(rtl: Rtl, folder: Path) -> Simulation:
    """Compile the files of a circuit (`files_of`, written to `folder`) and run its test bench on all vectors.

    Raises CircuitError where a program is missing or fails.
    """
    missing = missing_programs(rtl.language)
    if missing:
        raise CircuitError(
            f"a simulation needs {', '.join(missing)}, which {'is' if len(missing) == 1 else 'are'} missing"
        )
    bench = bench_name(rtl)
    names = [*(f"{SOURCES}/{name}" for name in rtl.sources), f"{BENCH}/{bench}{SUFFIX[rtl.language]}"]
    with TemporaryDirectory() as made:
        for name in (VECTORS, EXPECTED):
            shutil.copy(folder / BENCH / name, made)
        files = [str(folder.resolve() / name) for name in names]
        printed = SIMULATORS[rtl.language](bench, files, Path(made))
    verdict = VERDICTS.search(printed)
    if verdict is None:
        raise CircuitError(f"the test bench of {rtl.top} ended without a verdict: {printed[-500:]}")
    version = run_program([PROGRAMS[rtl.language][0], "--version"], folder).splitlines()[0]
    return Simulation(version, outputs=int(verdict[2]), differing=int(verdict[1]))


def _by_verilator(bench: str, files: list[str], made: Path) -> str:
    """Warnings are left out: alkaid's logic drops bits and extends signs on purpose. Compiling takes the time."""
    build = ["verilator", "--binary", "--timing", "-Wno-lint", "-Wno-fatal", "-j", "1", "--top-module", bench]
    quick = [part for own in ("FAST", "SLOW", "GLOBAL") for part in ("-MAKEFLAGS", f"OPT_{own}=-O0")]
    run_program([*build, *quick, "--Mdir", str(made), *files], made)
    return run_program([str(made / f"V{bench}")], made)


def _by_ghdl(bench: str, files: list[str], made: Path) -> str:
    """Warnings about values that are not driven yet at time 0 are no faults."""
    run_program(["ghdl", "-a", "--std=08", *files], made)
    return run_program(["ghdl", "--elab-run", "--std=08", bench, "--ieee-asserts=disable-at-0"], made)


SIMULATORS: Mapping[Language, Callable[[str, list[str], Path], str]] = {"verilog": _by_verilator, "vhdl": _by_ghdl}
