"""Synthesises circuits with Yosys, and compares their LUTs with what says it beforehand: LUTs by layer, EBOPs, bits.

    make bench-synthesis

Needs Yosys and the extra `fpga`; about ten CPU minutes. Each synthesis is kept in mase_output/benchmarks/synthesis, so
an interrupted run goes on. Prints two tables, and writes docs/pictures/synthesis.svg.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from saved_picture import BLUE, MUTED, ORANGE, new_figure, save
from scipy.stats import pearsonr, spearmanr
from torch import Tensor, nn

from chop.actions.search.strategies.runners.hardware import AverageBitwidth, BitOps
from chop.circuits import circuit_costs, integer_network
from chop.circuits.alkaid_trace import traced
from chop.circuits.ebops import STAGE_BITS, ebops_of, stage_bits
from chop.circuits.facts import checked_outputs
from chop.circuits.network import IntegerNetwork
from chop.circuits.network_costs import network_costs
from chop.circuits.rtl.design import Rtl, RtlOptions, rtl_of
from chop.circuits.rtl.yosys import script_of, synthesised, yosys_version
from chop.circuits.solutions import Solutions, content_key
from chop.circuits.stage_luts import STAGE_LUTS, StageLuts
from chop.formats.integer import Integer
from chop.ir import MaseGraph, QuantPlan
from chop.ir.graph.node_costs import node_costs
from chop.models import get_model
from chop.passes.graph import fold_batch_norm_transform_pass
from chop.tools.files import write_whole
from chop.weight_transforms import Chain, Sparsity

ROOT = Path(__file__).parents[1]
PICTURE = ROOT / "docs" / "pictures" / "synthesis.svg"
KEPT = ROOT / "mase_output" / "benchmarks" / "synthesis"
NETWORKS, LAYERS = 40, 16
SEED = 19
SHAPES = ((16, 8), (8, 8), (8, 5), (16, 16), (32, 5))
"""Inputs and outputs of single layers: those of the bundled networks of jets, without the largest."""

PREDICTORS = ("luts", "luts_fused", "circuit_luts", "ebops", "ebops_nominal", "bitops", "average_bitwidth")
Numbers = NDArray[np.float64]


@dataclass(frozen=True)
class Subject:
    """A quantised network (`kind`: networks or layers), and samples for it."""

    kind: str
    name: str
    graph: MaseGraph
    x: Tensor


@dataclass(frozen=True)
class Row:
    """Figures of a subject: LUTs that Yosys makes, and all that is said beforehand."""

    kind: str
    name: str
    synthesised: float
    predicted: Mapping[str, float]


def subjects() -> Iterator[Subject]:
    """The networks and the layers, the same in every run."""
    draw = np.random.default_rng(SEED)
    x = torch.randn(512, 16, generator=torch.Generator().manual_seed(SEED))
    for number in range(NETWORKS):
        graph = MaseGraph(get_model("jsc-toy", pretrained=True))
        fold_batch_norm_transform_pass(graph, {"show": False})
        yield quantised(graph, draw, "networks", f"jsc-toy {number + 1}", x)
    for number in range(LAYERS):
        inputs, outputs = SHAPES[number % len(SHAPES)]
        torch.manual_seed(number)
        graph = MaseGraph(nn.Sequential(nn.Linear(inputs, outputs)), example_inputs=torch.zeros(2, inputs))
        x = torch.randn(512, inputs, generator=torch.Generator().manual_seed(number))
        yield quantised(graph, draw, "layers", f"{inputs} to {outputs}, {number + 1}", x)


def quantised(graph: MaseGraph, draw: np.random.Generator, kind: str, name: str, x: Tensor) -> Subject:
    """A graph with drawn formats: other widths in each layer about those of the network, and weights left out."""
    usual, sparse = int(draw.integers(3, 8)), draw.choice([0.0, 0.0, 0.5, 0.75])
    plan: dict[str, dict[str, Any]] = {}
    for node, op in graph.quantizable_nodes().items():
        if op.multiplies:
            inputs, weights, biases = (int(np.clip(usual + draw.integers(-2, 3), 2, 8)) for _ in range(3))
            plan[node] = {
                "data_in": Integer(inputs, inputs - 3 if inputs > 3 else 1),
                "weight": Chain((Sparsity(float(sparse)),), Integer(weights, "auto")),
                "bias": Integer(max(biases, 4), "auto"),
            }
    graph.apply_plan(QuantPlan.of(plan))
    return Subject(kind, name, graph, x)


def measured(subject: Subject, solutions: Solutions) -> Row | None:
    """The figures of a subject, whose circuit is checked on its samples; None where its output is constant."""
    network = integer_network(subject.graph, subject.x)
    circuit = traced(network)
    checked_outputs(circuit, network, subject.x)
    if circuit.logic is None:
        return None
    costs = node_costs(subject.graph, subject.x[:2])
    plan = subject.graph.plan
    predicted = {
        **by_layer(network, solutions),
        "circuit_luts": circuit_costs(circuit).luts,
        "bitops": BitOps().total(costs, plan)["bitops"],
        "average_bitwidth": AverageBitwidth().total(costs, plan)["average_bitwidth"],
    }
    rtl = rtl_of(circuit, network, RtlOptions(n_stages=0, fuses_adders=False))
    return Row(subject.kind, subject.name, float(kept(rtl)), predicted)


def by_layer(network: IntegerNetwork, solutions: Solutions) -> dict[str, float]:
    """The sums over stages that searches use."""
    luts, fused, *_ = network_costs(network, StageLuts(solutions), STAGE_LUTS)
    bits = ebops_of(network_costs(network, stage_bits, STAGE_BITS))
    return {"luts": luts, "luts_fused": fused, **{name: float(value) for name, value in bits.items()}}


def kept(rtl: Rtl) -> int:
    """The LUTs that Yosys makes of a circuit; kept by its text, the commands and Yosys' version."""
    key = content_key([yosys_version(), script_of(rtl), sorted(rtl.sources.items())])
    path = KEPT / f"{key}.json"
    if not path.exists():
        write_whole(path, json.dumps({"luts": synthesised(rtl).luts}))
    return int(json.loads(path.read_text(encoding="utf-8"))["luts"])


def errors(x: Numbers, y: Numbers) -> Numbers:
    """The relative error of each `x` times the one factor that fits all others best (in the mean of logarithms)."""
    logs = np.log(y / x)
    others = (logs.sum() - logs) / (len(logs) - 1)
    found: Numbers = np.abs(x * np.exp(others) / y - 1)
    return found


def table(rows: Sequence[Row]) -> str:
    """How well each figure says the synthesised LUTs."""
    y = np.array([row.synthesised for row in rows])
    lines = [
        "| figure | rank correlation | linear correlation | mean relative error | LUTs / figure, 5 to 95 % |",
        "|---|---|---|---|---|",
    ]
    for name in PREDICTORS:
        x = np.array([row.predicted[name] for row in rows])
        ratio, rank, linear = np.quantile(y / x, (0.05, 0.95)), spearmanr(x, y).statistic, pearsonr(x, y).statistic
        lines.append(
            f"| `{name}` | {rank:.3f} | {linear:.3f} | {errors(x, y).mean():.0%} | {ratio[0]:.3g} to {ratio[1]:.3g} |"
        )
    return "\n".join(lines)


def sums(rows: Sequence[Row]) -> str:
    """How far sums over layers are from whole circuits."""
    found = np.array([(row.predicted["luts"] / row.predicted["circuit_luts"], row.synthesised) for row in rows])
    large = found[found[:, 1] >= np.median(found[:, 1]), 0]
    return (
        f"sum over stages / whole circuit: {found[:, 0].min():.2f} to {found[:, 0].max():.2f} of {len(found)}; "
        f"{large.min():.2f} to {large.max():.2f} of the {len(large)} from {np.median(found[:, 1]):.0f} LUTs on"
    )


def picture(rows: Sequence[Row]) -> None:
    """Four panels: synthesised LUTs against a figure, networks and layers."""
    panels = ("luts", "ebops", "bitops", "average_bitwidth")
    figure, axes = new_figure(5.4, 2, 2, sharey=True)
    for axis, name in zip(axes.flat, panels, strict=True):
        for kind, mark, color in (("networks", "o", BLUE), ("layers", "^", ORANGE)):
            own = [row for row in rows if row.kind == kind]
            values = [row.predicted[name] for row in own], [row.synthesised for row in own]
            axis.plot(*values, mark, label=kind, ms=4, color=color)
        axis.set(xlabel=name, yscale="log", xscale="linear" if name == "average_bitwidth" else "log")
        axis.grid(True)
    axes[0, 0].axline((100, 100), (1000, 1000), color=MUTED, lw=0.8, zorder=0)
    axes[0, 0].legend()
    figure.supylabel("LUTs that Yosys synthesises", fontsize=9)
    save(figure, PICTURE)


def main(show: Callable[[str], None] = print) -> None:
    """Synthesise, compare and draw."""
    torch.set_num_threads(1)
    solutions, rows = Solutions(None), []
    for number, subject in enumerate(subjects()):
        row = measured(subject, solutions)
        if row is not None:
            rows.append(row)
            figures = f"{row.synthesised:.0f} LUTs, {row.predicted['luts']:.0f} by layer"
            show(f"{number + 1}/{NETWORKS + LAYERS} {row.name}: {figures}")
    for kind in ("networks", "layers"):
        own = [row for row in rows if row.kind == kind]
        least, most = min(row.synthesised for row in own), max(row.synthesised for row in own)
        show(f"\n{len(own)} {kind}, {least:.0f} to {most:.0f} LUTs\n\n{table(own)}\n\n{sums(own)}")
    picture(rows)


if __name__ == "__main__":
    main()
