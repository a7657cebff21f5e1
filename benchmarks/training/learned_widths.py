"""Learned widths on the jets: LUTs of exact circuits and accuracy, beside the points of HGQ2 on the same samples."""

from __future__ import annotations

import json
import os
import time
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from saved_picture import save_picture

import chop
from chop.circuits import circuit_facts
from chop.dataset import MaseDataModule
from chop.errors import CircuitError
from chop.ir import MaseGraph
from chop.ir.graph.graph_file import load_onto
from chop.tools.threads import one_thread
from chop.training.learned_widths import Snapshot, WidthTraining, descended, snapshot_graph, train_widths

PICTURE = Path(__file__).parents[2] / "docs" / "pictures" / "learned_widths.svg"
LONG = WidthTraining(
    epochs=9000,
    cycles=120,
    snapshots=120,
    first_factor=3e-6,
    last_factor=3e-4,
    pace=0.6,
    weight_fraction=4,
    activation_fraction=4,
    activation_rounding="half_up",
    error_share=0.95,
    descent_tries=2500,
    descent_rounds=3,
)
SHORT = replace(LONG, epochs=3000, cycles=60, snapshots=60, first_factor=5e-6, error_share=0.5, seed=1)
RUNS = ((LONG, 64), (SHORT, 52))
"""Runs whose networks are taken together, and how many of each: those behind drop whole classes."""

FOLDER = Path("mase_output") / "benchmarks"
"""Where networks are kept along the run: one that was interrupted goes on, one that is done is measured again."""

FEW = 8000
"""EBOPs from which on networks are left out."""

HGQ2 = [
    (62, 0.5962, 0.5946), (146, 0.6410, 0.6236), (270, 0.7003, 0.6865), (308, 0.7117, 0.7050), (358, 0.7167, 0.7086),
    (453, 0.7240, 0.7144), (512, 0.7254, 0.7131), (529, 0.7264, 0.7198), (597, 0.7294, 0.7199), (627, 0.7300, 0.7203),
    (659, 0.7288, 0.7221), (689, 0.7314, 0.7250), (769, 0.7337, 0.7249), (930, 0.7341, 0.7254), (1063, 0.7344, 0.7277),
    (1086, 0.7374, 0.7283), (1288, 0.7390, 0.7301), (1593, 0.7416, 0.7272), (1780, 0.7462, 0.7346),
    (2117, 0.7455, 0.7347), (2289, 0.7459, 0.7359), (2729, 0.7473, 0.7317), (3433, 0.7506, 0.7385),
    (4920, 0.7512, 0.7356), (6429, 0.7546, 0.7422),
]  # fmt: skip
"""LUTs, accuracy on the validation and on the test set: two seeds of HGQ2 0.2.0 (Keras 3.15, JAX on the CPU), 24 CPU
minutes each, 9,340 epochs of 1,024 jets a step; LUTs by alkaid 0.8.2, its adders of three numbers formed. Own runs."""

NEAR = 0.0007
"""By how much the accuracy that chooses may be below the best of cheaper networks of a run for a longer descent."""

NEARER = 0.0005
"""The same by LUTs after that descent, among the networks of all runs, for one with rounds of training."""

TRIES, ROUNDS = 10_000, 4
"""Changes that a descent tries, and the rounds of training of those after the first one."""

GROWTH, PASSES = 1.3, 1
"""By what the factor of the cost grows in each of the last passes, which descend from the front so far."""

LEVELS = (0.70, 0.72, 0.73, 0.735)


@dataclass(frozen=True)
class Point:
    """A network: LUTs and accuracy (the share of jets): the one that it is chosen by, and that on the test set.

    Ours are chosen by all training and validation samples: of the 9,763 for validation alone the best among hundreds of
    networks is the luckiest, and networks this small learn no sample by heart. Those of HGQ2 by the validation set.
    """

    luts: float
    chosen_by: float
    test: float


@dataclass(frozen=True)
class Kept:
    """A network in a file: the options and the factor of its training, and the CPU seconds of its own descent."""

    file: Path
    options: WidthTraining
    factor: float
    seconds: float = 0.0


def main() -> None:
    """Train, measure, print the table and draw the picture."""
    with one_thread():
        graph, data = jets()
        folders = [train(graph, data, options, most) for options, most in RUNS]
        near = [
            Kept(folder / own["file"], options, own["factor"])
            for folder, (options, _) in zip(folders, RUNS, strict=True)
            for own in near_front(graph, data, folder)
        ]
        points: dict[Kept, Point] = {}
        seconds = {folder: float(networks(folder)[-1]["seconds"]) for folder in folders}
        for rounds, growth in ((0, 1.0), (ROUNDS, 1.0), *[(ROUNDS, GROWTH)] * PASSES):
            found = [further(graph, data, own, rounds, growth) for own in near]
            seconds |= {own.file: own.seconds for own in found}
            points |= measured(graph, data, [own for own in found if own not in points])
            near = hardly_behind(points, NEARER if rounds == 0 else 0.0)
        report(front(list(points.values())), sum(seconds.values()))


def networks(folder: Path) -> list[dict[str, Any]]:
    """Of each network that a run has kept: its file, epoch, factor, cost, validation loss, CPU seconds until then."""
    notes = folder / "networks.jsonl"
    return [json.loads(line) for line in notes.read_text(encoding="utf-8").splitlines()] if notes.exists() else []


def train(graph: MaseGraph, data: MaseDataModule, options: WidthTraining, most: int) -> Path:
    """Train, or go on where the run was interrupted, and keep each of the first networks in a file of the folder."""
    folder = FOLDER / f"learned_widths-{zlib.crc32(repr(options).encode()):08x}"
    folder.mkdir(parents=True, exist_ok=True)
    kept, state = networks(folder), folder / "state.safetensors"
    before = kept[-1]["seconds"] if kept else 0.0
    start = Snapshot(0, 0, 0.0, 0.0, 0.0, {}, {}, load_file(state)) if state.exists() else None
    started = time.process_time()
    if len(kept) >= most:
        return folder
    for number, found in enumerate(train_widths(graph, data, options, start), len(kept)):
        snapshot_graph(graph, found).export(folder / f"{number:04}.safetensors")
        line = {key: getattr(found, key) for key in ("epoch", "factor", "cost", "validation_loss")}
        line |= {"file": f"{number:04}.safetensors", "seconds": before + time.process_time() - started}
        with (folder / "networks.jsonl").open("a", encoding="utf-8") as notes:
            notes.write(json.dumps(line) + "\n")
        save_file(dict(found.state), folder / "state.part")
        (folder / "state.part").replace(state)
        if number % 10 == 9:
            print(" ".join(f"{key} {value:.4g}" for key, value in line.items() if key != "file"), flush=True)
        if number + 1 == most:
            break
    return folder


def jets() -> tuple[MaseGraph, MaseDataModule]:
    """The float network 16-64-32-32-5 and its data."""
    data = MaseDataModule("jsc", batch_size=1024, model_name="jsc-mlp")
    data.prepare_data()
    data.setup()
    return MaseGraph(chop.get_model("jsc-mlp", pretrained=True)), data


def near_front(graph: MaseGraph, data: MaseDataModule, folder: Path) -> list[dict[str, Any]]:
    """The networks of a run that are hardly less accurate than cheaper ones (EBOPs) of it."""
    found, best = [], 0.0
    for own in sorted(networks(folder), key=lambda own: float(own["cost"])):
        if float(own["cost"]) > FEW:
            break
        seen = accuracy(load_onto(graph, folder / own["file"]), data, "train", "val")
        best = max(best, seen)
        if seen >= best - NEAR:
            found.append(own)
    return found


def hardly_behind(points: Mapping[Kept, Point], by: float) -> list[Kept]:
    """The networks that are less accurate than those of fewer LUTs by no more than `by`."""
    found, best = [], 0.0
    for own, point in sorted(points.items(), key=lambda item: item[1].luts):
        best = max(best, point.chosen_by)
        if point.chosen_by >= best - by:
            found.append(own)
    return found


def further(graph: MaseGraph, data: MaseDataModule, own: Kept, rounds: int, growth: float) -> Kept:
    """The network after a longer descent with rounds of 5 epochs, its factor grown, kept beside it."""
    file = own.file.with_name(f"{'further' if growth == 1 else 'cheaper'}-{own.file.name}")
    factor = own.factor * growth
    notes = file.with_suffix(".json")
    if not notes.exists():
        started = time.process_time()
        options = replace(own.options, descent_epochs=5)
        start = load_onto(graph, own.file)
        descended(graph, start, data, options, factor, tries=TRIES, rounds=rounds).export(file)
        notes.write_text(json.dumps({"seconds": time.process_time() - started}), encoding="utf-8")
    spent = float(json.loads(notes.read_text(encoding="utf-8"))["seconds"])
    return replace(own, file=file, factor=factor, seconds=spent)


def measured(graph: MaseGraph, data: MaseDataModule, kept: Sequence[Kept]) -> dict[Kept, Point]:
    """LUTs and accuracies, each network as a circuit that is compared with it."""
    points: dict[Kept, Point] = {}
    for own in kept:
        network = load_onto(graph, own.file)
        try:
            facts = circuit_facts(network, data, part="test")
        except CircuitError as error:  # the circuit differs from its network: a fault of alkaid
            print(f"left out, {error}", flush=True)
            continue
        seen, test = accuracy(network, data, "train", "val"), accuracy(network, data, "test")
        points[own] = Point(facts.luts_fused, seen, test)
        print(own.file.stem, points[own], flush=True)
    return points


def front(points: Sequence[Point]) -> list[Point]:
    """The points that no other with as few LUTs is better than by the accuracy that chooses, by LUTs."""
    found: list[Point] = []
    for point in sorted(points, key=lambda point: (point.luts, -point.chosen_by)):
        if not found or point.chosen_by > found[-1].chosen_by:
            found.append(point)
    return found


@torch.no_grad()
def accuracy(network: MaseGraph, data: MaseDataModule, *parts: str) -> float:
    """The share of the jets of these sets that are sorted correctly."""
    hits = [network.model(x).argmax(1) == y for part in parts for x, y in data.batches(part)]
    return float(torch.cat(hits).double().mean())


def report(points: Sequence[Point], seconds: float) -> None:
    """Print the table and draw the picture."""
    theirs = [Point(luts, validation, test) for luts, validation, test in HGQ2]
    print(f"\n| test accuracy at least | {' | '.join(f'{100 * level:g} %' for level in LEVELS)} |")
    print(f"|---|{'---|' * len(LEVELS)}")
    for name, own in (
        ("LUTs, HGQ2 0.2.0, 2 x 24 CPU minutes", theirs),
        (f"LUTs, chop, {seconds / 60:.1f} CPU minutes", points),
    ):
        cells = [min((point.luts for point in own if point.test >= level), default=None) for level in LEVELS]
        print(f"| {name} | {' | '.join('none' if cell is None else f'{cell:,.0f}' for cell in cells)} |")
    print("\nChosen without the test set, the best within so many LUTs (LUTs: test accuracy):\n")
    budgets = (300, 500, 690, 1000, 1300, 2000, 2600)
    print(f"| | {' | '.join(f'{budget:,}' for budget in budgets)} |\n|---|{'---|' * len(budgets)}")
    for name, own in (("HGQ2", theirs), ("chop", points)):
        best = [
            max((p for p in own if p.luts <= budget), key=lambda p: p.chosen_by, default=None) for budget in budgets
        ]
        print(f"| {name} | {' | '.join('none' if p is None else f'{p.luts:,.0f}: {p.test:.4f}' for p in best)} |")
    draw(theirs, points, seconds)


def draw(theirs: Sequence[Point], ours: Sequence[Point], seconds: float) -> None:
    """Draw both by LUTs and test accuracy."""
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "chop"
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(7, 4.2), layout="constrained")
    for name, own in (("HGQ2 0.2.0 (2 x 24 CPU min)", theirs), (f"chop ({seconds / 60:.1f} CPU min)", ours)):
        rows = sorted(own, key=lambda point: point.luts)
        axes.plot([p.luts for p in rows], [p.test for p in rows], "o-", markersize=3, linewidth=1, label=name)
    axes.set_xscale("log")
    ticks = (200, 300, 500, 700, 1000, 2000, 3000, 5000, 7000)
    axes.set_xticks(ticks, [f"{tick:,}" for tick in ticks])
    axes.set_xticks([], minor=True)
    axes.set_xlim(200, 7000)
    axes.set_ylim(0.66, 0.75)
    axes.set_xlabel("LUTs (alkaid)")
    axes.set_ylabel("accuracy on the test set")
    axes.legend(fontsize=8)
    axes.grid(alpha=0.3)
    save_picture(figure, PICTURE)
    print(f"\n{os.path.relpath(PICTURE)} is drawn")
