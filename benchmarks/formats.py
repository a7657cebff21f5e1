"""The time of every number format on a 4096 x 4096 tensor, as a multiple of a plain copy in the same run.

`make bench-formats`. Eager and compiled (`torch.compile`), one thread, and the extra memory that an eager call takes at
its peak, as a multiple of the tensor. A copy reads and writes once and allocates its result, as a format must.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from rich.console import Console
from rich.progress import track
from rich.table import Table
from torch import Tensor

from chop.formats import FORMATS, Format
from chop.testing.op_cases import FORMAT_KEYS

AIMS = {"integer": 3.0, "integer_floor": 3.0}
USUAL_AIM = 8.0


@dataclass(frozen=True)
class Row:
    """A format's times as multiples of a copy, and its memory as a multiple of the tensor."""

    name: str
    eager: float
    compiled: float | None
    memory: float


def seconds(call: Callable[[], object], repeats: int) -> float:
    """The median time of a call, after one that is not counted."""
    call()
    times = []
    for _ in range(repeats):
        started = time.perf_counter()
        call()
        times.append(time.perf_counter() - started)
    return statistics.median(times)


def peak_memory(call: Callable[[], object]) -> int:
    """Bytes that a call holds at its peak, its result included, by torch's own count."""
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as found:
        call()
    held = peak = 0
    for event in sorted(found.profiler.kineto_results.events(), key=lambda event: event.start_ns()):
        if event.name() == "[memory]":
            held += event.nbytes()
            peak = max(peak, held)
    return peak


def measure(name: str, x: Tensor, repeats: int, with_compile: bool) -> Row:
    """One format, beside a copy that is timed right before it."""
    chosen = FORMATS[name].from_keys(FORMAT_KEYS[name], is_activation=False).calibrated(x)
    copy = seconds(x.clone, repeats)
    eager = seconds(lambda: chosen.quantize(x), repeats) / copy
    memory = peak_memory(lambda: chosen.quantize(x)) / (x.numel() * x.element_size())
    return Row(name, eager, compiled_time(chosen, x, repeats) if with_compile else None, memory)


def compiled_time(chosen: Format, x: Tensor, repeats: int) -> float:
    """The compiled call's time as a multiple of a copy; its results must be the eager ones."""
    torch.compiler.reset()
    compiled = torch.compile(chosen.quantize, dynamic=False)
    assert torch.equal(compiled(x), chosen.quantize(x)), f"{chosen}: compiled differs from eager"
    return seconds(lambda: compiled(x), repeats) / seconds(x.clone, repeats)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=4096)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--no-compile", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    x = torch.randn(options.size, options.size)
    table = Table("format", "aim", "eager", "compiled", "memory at the peak", title="multiples of a copy")
    for name in track(list(FORMATS), "formats"):
        row = measure(name, x, options.repeats, not options.no_compile)
        compiled = "" if row.compiled is None else f"{row.compiled:.1f}"
        table.add_row(name, f"{AIMS.get(name, USUAL_AIM):g}", f"{row.eager:.1f}", compiled, f"{row.memory:.1f}")
    Console().print(table)


if __name__ == "__main__":
    main()
