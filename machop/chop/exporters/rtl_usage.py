"""The part of an export's README that says what the ports of a circuit hold, and how to simulate and synthesise it."""

from __future__ import annotations

from collections.abc import Sequence

from chop.circuits.rtl import Rtl, Word
from chop.circuits.rtl.design import SUFFIX
from chop.circuits.rtl.test_bench import bench_name

PORTS = """
The top module is `{top}`, in `src/{top}{suffix}`. {timing}
{sizes}

Ports hold whole tensors: element i (flattened, the last axis fastest) lies in the bits from i · b to i · b + b - 1,
where b are the bits of an element.

| port | bits | elements | bits of an element | step | holds |
|---|---|---|---|---|---|
{rows}

An input is rounded to its format before it comes in; `manifest.json` has the rounding, the step and the range of each
port under `facts.inputs`, `sim/inputs.hex` the test set so rounded, and `sim/outputs.hex` what comes out, a line a
sample.

`src` also has modules of alkaid's library (LGPL-3.0-or-later): those whose names do not begin with `{top}`.
"""

VERILOG = """
Simulate, here with Verilator 5, in `sim`:

```console
verilator --binary --timing -Wno-lint -Wno-fatal --top-module {bench} ../src/*.v {bench}.v
./obj_dir/V{bench}
```

It ends with `PASS: 0 of {outputs} outputs differ`. GNU make, which Verilator runs, takes no folder whose path has a
space: copy this one to another place first. Other simulators take the same files; they read `inputs.hex` and
`outputs.hex` from the folder in which they run.

Synthesise with Yosys:

```console
yosys -p "read_verilog -sv src/*.v; synth_xilinx -flatten -top {top}; stat"
```
{advice}
or with Vivado (not tried by this export):

```tcl
read_verilog [glob src/*.v]
{constraints}synth_design -top {top} -part xcvu13p-flga2577-2-e -mode out_of_context
report_utilization
report_timing_summary
```
"""

ADVICE = """
Yosys forms adders of two numbers: export with `--set fuses_adders=false` for a few per cent fewer LUTs there.
"""

VHDL = """
Simulate, here with GHDL, in `sim`; the order of the sources matters:

```console
ghdl -a --std=08 {sources} {bench}.vhd
ghdl --elab-run --std=08 {bench} --ieee-asserts=disable-at-0
```

It ends with `PASS: 0 of {outputs} outputs differ`.

Synthesise with Vivado (not tried by this export; Yosys reads no VHDL):

```tcl
read_vhdl -vhdl2008 [glob src/*.vhd]
{constraints}synth_design -top {top} -part xcvu13p-flga2577-2-e -mode out_of_context
report_utilization
report_timing_summary
```
"""


def usage(rtl: Rtl, sources: Sequence[str], luts: float, outputs: int) -> str:
    """The Markdown text that comes with a circuit.

    It lists the nodes whose values come to its ports, its LUTs with two numbers at each adder, and how many outputs
    its test bench compares.
    """
    pairs = zip(rtl.inputs, sources, strict=True)
    rows = [_row(word, f"`{source}`, rounded at `{word.node}`") for word, source in pairs]
    rows.append(_row(rtl.output, "the output of the network"))
    suffix = SUFFIX[rtl.language]
    text = PORTS.format(top=rtl.top, suffix=suffix, timing=_timing(rtl), sizes=_sizes(rtl, luts), rows="\n".join(rows))
    how = (VERILOG if rtl.language == "verilog" else VHDL).format(
        top=rtl.top,
        bench=bench_name(rtl),
        outputs=outputs,
        sources=" ".join(f"../src/{name}" for name in rtl.sources),
        advice="" if rtl.luts == luts else ADVICE,
        constraints=f"read_xdc src/{rtl.top}.xdc\n" if rtl.constraints else "",
    )
    return text + how


def _timing(rtl: Rtl) -> str:
    if not rtl.cycles:
        return "It has no registers and no clock."
    return (
        f"It takes one sample each cycle of `clk`; its result stands at the output {rtl.cycles} cycles after the edge "
        f"that took it in: {rtl.latency:g} ns at a clock of {rtl.clock_period:g} ns, if the device reaches that."
    )


def _sizes(rtl: Rtl, luts: float) -> str:
    fused = "" if rtl.luts == luts else f" ({rtl.luts:,.0f} where a carry chain adds three numbers)"
    return f"Alkaid counts {luts:,.0f} LUTs{fused} and {rtl.flip_flops:,} bits of registers."


def _row(word: Word, holds: str) -> str:
    sign = "two's complement" if word.is_signed else "no sign"
    return f"| `{word.name}` | {word.width} | {word.elements} | {word.bits}, {sign} | 2^{-word.frac} | {holds} |"
