"""Writes a circuit's files: sources, constraints, and a test bench with vectors that checks itself."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from chop.circuits.network import IntegerNetwork
from chop.circuits.rtl.design import SUFFIX, Rtl
from chop.circuits.rtl.words import hex_lines
from chop.circuits.values import Integers

VECTORS, EXPECTED = "inputs.hex", "outputs.hex"
SOURCES, BENCH = "src", "sim"
VERDICT = "outputs differ"
"""The line of a test bench: `PASS: 0 of 48815 outputs differ`."""


@dataclass(frozen=True)
class Vectors:
    """Codes of samples: `inputs` `(samples, elements)` for each port, and `outputs` `(samples, elements)`."""

    inputs: tuple[Integers, ...]
    outputs: Integers


def vectors_of(rtl: Rtl, network: IntegerNetwork, inputs: Iterable[Any]) -> Vectors:
    """The codes at the ports for a model's inputs, and the outputs of the integer network for them."""
    given: list[list[Integers]] = []
    outputs = []
    for x in inputs:
        codes = network.port_codes(x)
        given.append([word.codes(codes[word.node]) for word in rtl.inputs])
        outputs.append(rtl.output.codes(network.run(codes)))
    return Vectors(tuple(np.concatenate(own) for own in zip(*given, strict=True)), np.concatenate(outputs))


def bench_name(rtl: Rtl) -> str:
    """The module of the test bench."""
    return f"{rtl.top}_tb"


def files_of(rtl: Rtl, vectors: Vectors) -> dict[str, str]:
    """The files of a circuit with its test bench: texts by path, sources in an order in which they compile."""
    suffix = SUFFIX[rtl.language]
    bench = verilog_bench(rtl, len(vectors.outputs)) if rtl.language == "verilog" else vhdl_bench(rtl)
    found: Mapping[str, str] = {
        **{f"{SOURCES}/{name}": text for name, text in rtl.sources.items()},
        f"{SOURCES}/{rtl.top}.xdc": rtl.constraints,
        f"{BENCH}/{bench_name(rtl)}{suffix}": bench,
        f"{BENCH}/{VECTORS}": hex_lines(rtl.inputs, vectors.inputs),
        f"{BENCH}/{EXPECTED}": hex_lines([rtl.output], [vectors.outputs]),
    }
    return {path: text for path, text in found.items() if text}


def verilog_bench(rtl: Rtl, samples: int) -> str:
    """A test bench in Verilog: one vector each clock cycle, each element compared when its sample comes out."""
    width, bits, out = _vector_width(rtl), rtl.output.bits, rtl.output.width
    links = [".clk(clk)"] * bool(rtl.cycles)
    links += [f".{name}(vector[{high}:{low}])" for name, high, low in _ports(rtl)]
    links.append(f".{rtl.output.name}(found)")
    return f"""`timescale 1ns / 1ps

// Feeds {VECTORS} to {rtl.top}, a line each clock cycle, and compares its output with {EXPECTED}, element by element.
module {bench_name(rtl)};
    localparam SAMPLES = {samples};
    localparam CYCLES = {rtl.cycles};
    localparam ELEMENTS = {rtl.output.elements};

    reg clk = 0;
    reg [{width - 1}:0] vectors [0:SAMPLES-1];
    reg [{out - 1}:0] expected [0:SAMPLES-1];
    reg [{width - 1}:0] vector = 0;
    reg [{out - 1}:0] wanted;
    wire [{out - 1}:0] found;
    integer cycle, element, differing;

    {rtl.top} circuit ({", ".join(links)});

    always #{rtl.clock_period / 2:g} clk = ~clk;

    initial begin
        $readmemh("{VECTORS}", vectors);
        $readmemh("{EXPECTED}", expected);
        differing = 0;
        for (cycle = 0; cycle <= SAMPLES + CYCLES; cycle = cycle + 1) begin
            @(negedge clk);
            if (cycle > CYCLES) begin
                wanted = expected[cycle - CYCLES - 1];
                for (element = 0; element < ELEMENTS; element = element + 1)
                    if (found[element * {bits} +: {bits}] !== wanted[element * {bits} +: {bits}])
                        differing = differing + 1;
            end
            if (cycle < SAMPLES) vector = vectors[cycle];
        end
        $display("%0s: %0d of %0d {VERDICT}", differing == 0 ? "PASS" : "FAIL", differing, SAMPLES * ELEMENTS);
        $finish;
    end
endmodule
"""


def vhdl_bench(rtl: Rtl) -> str:
    """The same in VHDL (2008); it reads the vectors line by line."""
    width, bits, out = _vector_width(rtl), rtl.output.bits, rtl.output.width
    links = ["clk => clk"] * bool(rtl.cycles)
    links += [f"{name} => vector({high} downto {low})" for name, high, low in _ports(rtl)]
    links.append(f"{rtl.output.name} => found")
    return f"""library ieee;
use ieee.std_logic_1164.all;
use std.env.all;
use std.textio.all;

-- Feeds {VECTORS} to {rtl.top}, a line each clock cycle, and compares its output with {EXPECTED}, element by element.
entity {bench_name(rtl)} is
end entity {bench_name(rtl)};

architecture test of {bench_name(rtl)} is
    constant CYCLES: natural := {rtl.cycles};
    constant ELEMENTS: natural := {rtl.output.elements};
    constant BITS: natural := {bits};
    signal clk: std_logic := '0';
    signal vector: std_logic_vector({width - 1} downto 0) := (others => '0');
    signal found: std_logic_vector({out - 1} downto 0);
begin
    circuit: entity work.{rtl.top} port map({", ".join(links)});

    clk <= not clk after {rtl.clock_period * 500:.0f} ps;

{_vhdl_process(width, out)}end architecture test;
"""


def _vhdl_process(width: int, out: int) -> str:
    """The process that feeds vectors of `width` bits, and compares outputs of `out` bits element by element."""
    return f"""    process
        file vectors: text open read_mode is "{VECTORS}";
        file expected: text open read_mode is "{EXPECTED}";
        variable row: line;
        variable given: std_logic_vector({width - 1} downto 0);
        variable wanted: std_logic_vector({out - 1} downto 0);
        variable cycle, compared, differing: natural := 0;
    begin
        while not endfile(expected) loop
            wait until falling_edge(clk);
            if cycle > CYCLES then
                readline(expected, row);
                hread(row, wanted);
                for element in 0 to ELEMENTS - 1 loop
                    compared := compared + 1;
                    if found((element + 1) * BITS - 1 downto element * BITS)
                       /= wanted((element + 1) * BITS - 1 downto element * BITS) then
                        differing := differing + 1;
                    end if;
                end loop;
            end if;
            if not endfile(vectors) then
                readline(vectors, row);
                hread(row, given);
                vector <= given;
            end if;
            cycle := cycle + 1;
        end loop;
        if differing = 0 then
            report "PASS: 0 of " & integer'image(compared) & " {VERDICT}";
        else
            report "FAIL: " & integer'image(differing) & " of " & integer'image(compared) & " {VERDICT}";
        end if;
        finish;
    end process;
"""


def _vector_width(rtl: Rtl) -> int:
    """The bits of a vector: those of all input ports."""
    return sum(word.width for word in rtl.inputs)


def _ports(rtl: Rtl) -> Iterator[tuple[str, int, int]]:
    """The name of each input port, with its highest and its lowest bit in a vector."""
    start = 0
    for word in rtl.inputs:
        yield word.name, start + word.width - 1, start
        start += word.width
