"""What costs as circuits have them take to compute, and how near sums over layers are to whole circuits.

    make bench-circuits PART=tables      # all configurations of jsc-s: EBOPs, LUTs; a quarter of an hour
    make bench-circuits PART=layers      # LUTs, registers and cycles by layer against whole circuits
    make bench-circuits                  # both

Times are CPU seconds of one process, in one run; ratios are what may be compared.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from math import prod
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from chop.actions.calibration import calibrate
from chop.actions.search.search_space.codes import codes_of_range
from chop.actions.search.search_space.mixed_precision_ptq import MixedPrecisionPTQ
from chop.circuits import circuit_costs, integer_network
from chop.circuits.alkaid_trace import traced
from chop.circuits.ebops import STAGE_BITS, stage_bits
from chop.circuits.network_costs import network_costs
from chop.circuits.plan_costs import PlanCosts
from chop.circuits.solutions import Solutions
from chop.circuits.stage_luts import STAGE_LUTS, StageLuts
from chop.circuits.steps import steps_of
from chop.dataset import MaseDataModule
from chop.formats import Format, Integer
from chop.ir import MaseGraph, QuantPlan
from chop.models import get_model
from chop.passes.graph import absorb_batch_norm_transform_pass, fold_batch_norm_transform_pass

SPACE = {"name": ["integer"], "data_in_width": [3, 5, 8], "weight_width": [3, 5, 8], "bias_width": [5, 8]}
BLOCK = 18**3
"""Configurations that are asked for together."""

NETWORKS = {"jsc-tiny": ("jsc", 3), "jsc-toy": ("jsc", 5), "jsc-mlp": ("jsc", 4), "toy": ("toy_tiny", 3)}
"""The data of the networks that are traced whole, and with how many draws of widths."""


def prepared(name: str) -> MaseDataModule:
    """A data set, ready."""
    data = MaseDataModule(name, 512)
    data.prepare_data()
    data.setup()
    return data


def folded(name: str, data: MaseDataModule) -> MaseGraph:
    """A bundled network without batch norms between its layers."""
    graph = MaseGraph(get_model(name, dataset_info=data.dataset_info, pretrained=True))
    fold_batch_norm_transform_pass(graph, {"show": False})
    absorb_batch_norm_transform_pass(graph, {"show": False})
    return graph


def table(title: str, *headings: str) -> Table:
    """An empty table."""
    found = Table(title=title, title_justify="left", box=None, pad_edge=False, header_style="bold")
    for heading in headings:
        found.add_column(heading, justify="right" if found.columns else "left")
    return found


def cpu_seconds(call: Callable[[], Any]) -> float:
    """CPU seconds of a call."""
    started = time.process_time()
    call()
    return time.process_time() - started


def tables() -> Table:
    """Costs of all configurations of jsc-s."""
    data = prepared("jsc")
    graph = folded("jsc-s", data)
    x, _ = next(iter(data.batches("val", 4)))
    axes = MixedPrecisionPTQ(graph, {"linear": {"config": SPACE}}, by="type").axes()
    assert axes is not None
    sizes, steps = [len(axis) for axis in axes], steps_of(graph, x, axes)
    points = prod(sizes)

    def all_of(costs: PlanCosts) -> None:
        for first in range(0, points, BLOCK):
            costs.sums(codes_of_range(first, min(points, first + BLOCK), sizes))

    solutions = Solutions(None)
    ebops = cpu_seconds(lambda: all_of(PlanCosts(steps, stage_bits, STAGE_BITS)))
    luts = cpu_seconds(lambda: all_of(PlanCosts(steps, StageLuts(solutions), STAGE_LUTS)))
    solved = solutions.solved
    again = cpu_seconds(lambda: all_of(PlanCosts(steps, StageLuts(solutions), STAGE_LUTS)))
    graph.apply_plan(QuantPlan.of({node: own for axis in axes for node, own in axis[0].items()}))
    network = integer_network(graph, x)
    alone = cpu_seconds(lambda: [network_costs(network, stage_bits, STAGE_BITS) for _ in range(20)]) / 20
    found = table(
        f"jsc-s, all {points:,} configurations, widths 3, 5 and 8", "", "CPU s", "us each", "beside EBOPs", "solved"
    )
    for name, seconds, pieces in (
        ("EBOPs", ebops, 0),
        ("LUTs, nothing solved before", luts, solved),
        ("LUTs, all solved before", again, solutions.solved - solved),
    ):
        found.add_row(
            name, f"{seconds:.1f}", f"{seconds / points * 1e6:.1f}", f"{seconds / ebops:.2f} x", f"{pieces:,}"
        )
    found.add_row("EBOPs of one network alone", f"{alone:.4f}", f"{alone * 1e6:,.0f}", "", "")
    return found


def drawn() -> Iterator[tuple[str, MaseGraph, Any]]:
    """Bundled networks with widths of 3 to 7 bits, drawn for each operand of each layer."""
    random = np.random.default_rng(0)
    for name, (dataset, count) in NETWORKS.items():
        data = prepared(dataset)
        for draw in range(count):
            graph = folded(name, data)
            calibrate(graph, data)
            plan: dict[str, dict[str, Format]] = {}
            for node, op in graph.quantizable_nodes().items():
                if op.multiplies or op.name == "batch_norm1d":
                    operands = ("data_in", "weight", "bias")
                    plan[node] = {own: Integer(int(random.integers(3, 8)), "auto") for own in operands}
            graph.apply_plan(QuantPlan.of(plan))
            yield f"{name} {draw}", graph, next(iter(data.batches("val", 4)))[0]


def layers() -> Table:
    """Sums over layers beside the figures of whole circuits."""
    found = table("by layer / whole", "network", "LUTs, whole", "LUTs", "flip-flops", "cycles")
    ratios = []
    for name, graph, x in drawn():
        network = integer_network(graph, x)
        luts, _, depth, waiting, half = network_costs(network, StageLuts(Solutions(None)), STAGE_LUTS)
        whole = circuit_costs(traced(network))
        cycles = max(1.0, np.ceil(depth / 5))
        own = (luts / whole.luts, (waiting * cycles / depth + half) / whole.flip_flops, cycles / whole.cycles)
        ratios.append((whole.luts, *own))
        found.add_row(name, f"{whole.luts:,.0f}", *(f"{ratio:.2f}" for ratio in own))
    for title, least in (("all", 0), ("above 1,200 LUTs", 1200)):
        some = np.array([row[1:] for row in ratios if row[0] > least])
        ends = [f"{low:.2f} to {high:.2f}" for low, high in zip(some.min(axis=0), some.max(axis=0), strict=True)]
        found.add_row(f"{title} ({len(some)})", "", *ends)
    return found


PARTS = {"layers": layers, "tables": tables}


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", nargs="?", choices=list(PARTS), help="one of the tables (default: all)")
    given = parser.parse_args()
    torch.set_num_threads(1)
    for name in [given.part] if given.part else list(PARTS):
        Console(width=120).print(PARTS[name]())


if __name__ == "__main__":
    main()
