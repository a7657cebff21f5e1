"""Learned widths on the jets: LUTs of exact circuits and accuracy, beside the points of HGQ2 on the same samples."""

from __future__ import annotations

import json
import os
import time
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from saved_picture import new_figure, save, whole_ticks

import chop
from chop.circuits import circuit_facts
from chop.dataset import MaseDataModule
from chop.errors import CircuitError
from chop.ir import MaseGraph
from chop.ir.graph.graph_file import load_onto
from chop.models.checkpoint import save_weights
from chop.tools.threads import one_thread
from chop.training.fine_tuning import FineTuning, fine_tune
from chop.training.front_descent import FrontNetwork, nearest_to_front
from chop.training.learned_widths import Snapshot, WidthTraining, descended, snapshot_graph, train_widths
from chop.training.width_lines import train_line

PICTURE = Path(__file__).parents[2] / "docs" / "pictures" / "learned_widths.svg"
FOLDER = Path("mase_output") / "benchmarks"
"""Where networks are kept along the run: one that was interrupted goes on, one that is done is measured again."""

TEACHERS = tuple(str(FOLDER / f"jsc-mlp-teacher-{seed}.safetensors") for seed in range(6))
TEACHING = FineTuning(max_epochs=60, batch_size=1024, learning_rate=1e-2, lr_scheduler="cosine")
"""Float networks whose mean teaches, and how each is trained from random weights."""

TRUNK = WidthTraining(
    epochs=900,
    cycles=12,
    snapshots=12,
    first_factor=1e-6,
    last_factor=1e-5,
    pace=0.6,
    weight_fraction=4,
    activation_fraction=4,
    activation_rounding="half_up",
    teacher_share=1.0,
    teachers=TEACHERS,
    error_share=0.95,
    descent_epochs=10,
    descent_cost="luts",
)
SETTLED, GROWTH = 2e-5, 1.2
"""Factors of the LUTs that are estimated: for networks of a training; how they grow along a line."""

FEW_LUTS = tuple(5e-5 * GROWTH**number for number in range(-4, 19))
MANY_LUTS = tuple(8e-6 * 1.4**number for number in range(5))
MOST_LUTS = tuple(4.5e-6 * 1.3**number for number in range(4))
"""The factors of lines that go down from 3,000 to 200 LUTs, and of two of large networks."""

RESTART = 75
"""Epochs at full learning rates before each network of a line of large ones."""

SHORTER = replace(TRUNK, epochs=600, cycles=8, snapshots=8, last_factor=5e-6)

LINES = (
    (replace(SHORTER, first_factor=3e-7, last_factor=8e-7, seed=3), MOST_LUTS, RESTART),
    (replace(SHORTER, last_factor=2e-6), MANY_LUTS, RESTART),
    (SHORTER, FEW_LUTS, 0),
    (replace(SHORTER, error_share=0.8, seed=1), FEW_LUTS, 0),
    (replace(TRUNK, seed=2), FEW_LUTS[4:], 0),
)
"""Trainings from the float weights to 18,400 to 4,500 EBOPs; from each a line leads to cheaper networks, with so many
epochs at full rates before each."""

TRIES, ROUNDS = 5000, 2
"""Changes that a descent tries, and the rounds of training and descent of each network."""

SMALL = 11_000
"""The EBOPs below which networks of a training have descents of their own."""

FURTHER, LEAST, MOST = 36, 500, 8000
"""Networks near the front that descend further, and the LUTs that they have."""

FURTHER_TRIES = 20_000
"""The changes that a descent of these tries."""

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

LEVELS = (0.70, 0.72, 0.73, 0.735, 0.74)


@dataclass(frozen=True)
class Point:
    """A network: LUTs and accuracy (the share of jets): the one that it is chosen by, and that on the test set.

    Ours are chosen by all training and validation samples: of the 9,763 for validation alone the best among hundreds of
    networks is the luckiest, and networks this small learn no sample by heart. Those of HGQ2 by the validation set.
    """

    luts: float
    chosen_by: float
    test: float


def main() -> None:
    """Train, measure, print the table and draw the picture."""
    with one_thread():
        graph, data = jets()
        runs = [taught(data, seed) for seed in range(len(TEACHERS))]
        found: dict[Path, WidthTraining] = {}
        for options, factors, restart in LINES:
            run, lower = line(graph, data, options, factors, restart)
            runs += run
            found |= dict.fromkeys(lower, options)
        files = [*found, *(further(graph, data, file, found[file]) for file in near_front(graph, data, list(found)))]
        points = measured(graph, data, files)
        report(points, sum(note(file)["seconds"] for file in (*runs, *files)))


def taught(data: MaseDataModule, seed: int) -> Path:
    """The checkpoint of a teacher."""
    file, started = Path(TEACHERS[seed]), time.process_time()
    if not note_of(file).exists():
        torch.manual_seed(seed)
        model = chop.get_model("jsc-mlp")
        fine_tune(model, data, replace(TEACHING, seed=seed))
        save_weights(model, file)
        known = {"seconds": time.process_time() - started}
        note_of(file).write_text(json.dumps(known), encoding="utf-8")
        print(file, f"seconds {known['seconds']:.3g}", flush=True)
    return file


def line(
    graph: MaseGraph, data: MaseDataModule, options: WidthTraining, factors: Sequence[float], restart: int
) -> tuple[list[Path], list[Path]]:
    """Train and descend; returns the files of the networks of the training, and those of the descents.

    Descents go down in a line from the training's last network, one for each of `factors`. One more starts from every
    other network before it that has few enough EBOPs. Factor and CPU seconds are kept beside each. What an interrupted
    run has kept is not made again.
    """
    key = repr((options, factors, restart, SETTLED, TRIES, ROUNDS))
    folder = FOLDER / f"learned_widths-{zlib.crc32(key.encode()):08x}"
    folder.mkdir(parents=True, exist_ok=True)
    run = trained(graph, data, options, folder)
    starts = [file for file in run[-3::-2] if note(file)["cost"] < SMALL]
    settled = [file for start in starts for file in onward(graph, data, options, start, [SETTLED], "settled", 0)]
    return run, [*settled, *onward(graph, data, options, run[-1], factors, "line", restart)]


def trained(graph: MaseGraph, data: MaseDataModule, options: WidthTraining, folder: Path) -> list[Path]:
    """The networks of the training itself."""
    files = [folder / f"run-{number:02}.safetensors" for number in range(options.snapshots)]
    done = [file for file in files if note_of(file).exists()]
    start, started = snapshot_of(done[-1]) if done else None, time.process_time()
    for file, found in zip(files[len(done) :], train_widths(graph, data, options, start), strict=True):
        keep(graph, found, file, started)
        started = time.process_time()
    return files


def onward(
    graph: MaseGraph,
    data: MaseDataModule,
    options: WidthTraining,
    start: Path,
    factors: Sequence[float],
    name: str,
    restart: int,
) -> list[Path]:
    """A line of networks from that of a file, one for each factor."""
    files = [start.with_name(f"{start.stem}-{name}-{number:02}.safetensors") for number in range(len(factors))]
    done = [file for file in files if note_of(file).exists()]
    if len(done) == len(files):
        return files
    last, left, started = snapshot_of([start, *done][-1]), factors[len(done) :], time.process_time()
    lower = train_line(graph, data, options, last, left, tries=TRIES, rounds=ROUNDS, restart_epochs=restart)
    for file, found in zip(files[len(done) :], lower, strict=True):
        keep(graph, found, file, started)
        started = time.process_time()
    return files


def snapshot_of(file: Path) -> Snapshot:
    """The snapshot of a file, as far as a training needs it to go on."""
    return Snapshot(0, 0, 0.0, 0.0, 0.0, {}, {}, load_file(state_of(file)))


def near_front(graph: MaseGraph, data: MaseDataModule, files: Sequence[Path]) -> list[Path]:
    """The networks that descend further: by LUTs and accuracy least behind the front, and well apart on it."""
    found = []
    for number, file in enumerate(files):
        known = judged(graph, data, file)
        if LEAST <= known["luts"] <= MOST:
            own = Snapshot(0, 0, known["factor"], known["luts"], 0.0, {}, {})
            found.append(FrontNetwork(number, -known["accuracy"], own))
    return [files[own.number] for own in nearest_to_front(found, FURTHER)]


def judged(graph: MaseGraph, data: MaseDataModule, file: Path) -> dict[str, float]:
    """What is known of a network, with the LUTs of its circuit and the accuracy that chooses.

    Both are kept beside it, and the CPU seconds that they take are added to its own.
    """
    known, started = note(file), time.process_time()
    if "luts" not in known:
        network = load_onto(graph, file)
        known["luts"] = circuit_facts(network, data, "val", samples=1024).luts_fused
        known["accuracy"] = accuracy(network, data, "train", "val")
        known["seconds"] += time.process_time() - started
        note_of(file).write_text(json.dumps(known), encoding="utf-8")
    return known


def further(graph: MaseGraph, data: MaseDataModule, file: Path, options: WidthTraining) -> Path:
    """The network after a descent to its end, and after rounds of training and descents from there."""
    better = file.with_name(f"further-{file.name}")
    if not note_of(better).exists():
        started, factor = time.process_time(), note(file)["factor"]
        network = descended(graph, load_onto(graph, file), data, options, factor, tries=FURTHER_TRIES, rounds=ROUNDS)
        network.export(better)
        known = {"factor": factor, "seconds": time.process_time() - started}
        note_of(better).write_text(json.dumps(known), encoding="utf-8")
        print(better, f"seconds {known['seconds']:.3g}", flush=True)
    return better


def state_of(file: Path) -> Path:
    """Where the state of the training is kept that found a network."""
    return file.with_suffix(".state")


def note_of(file: Path) -> Path:
    """Where the factor and the CPU seconds of a network are kept."""
    return file.with_suffix(".json")


def note(file: Path) -> dict[str, float]:
    """The factor and the CPU seconds of a network."""
    found: dict[str, float] = json.loads(note_of(file).read_text(encoding="utf-8"))
    return found


def keep(graph: MaseGraph, found: Snapshot, file: Path, started: float) -> None:
    """Keep a network and its state in files, and then its factor, EBOPs and CPU seconds beside them."""
    seconds = time.process_time() - started
    snapshot_graph(graph, found).export(file)
    save_file(dict(found.state), state_of(file))
    known = {"factor": found.factor, "cost": found.cost, "seconds": seconds}
    note_of(file).write_text(json.dumps(known), encoding="utf-8")
    print(file, " ".join(f"{name} {value:.4g}" for name, value in known.items()), flush=True)


def jets() -> tuple[MaseGraph, MaseDataModule]:
    """The float network 16-64-32-32-5 and its data."""
    data = MaseDataModule("jsc", batch_size=1024, model_name="jsc-mlp")
    data.prepare_data()
    data.setup()
    return MaseGraph(chop.get_model("jsc-mlp", pretrained=True)), data


def measured(graph: MaseGraph, data: MaseDataModule, files: Sequence[Path]) -> list[Point]:
    """The front by LUTs and the accuracy that chooses; each of it as a circuit, compared with it on the test set."""
    left = {file: judged(graph, data, file) for file in files}
    points: dict[Path, Point] = {}
    while unknown := [file for file in front(left) if file not in points]:
        for file in unknown:
            network = load_onto(graph, file)
            try:
                facts = circuit_facts(network, data, part="test")
            except CircuitError as error:  # the circuit differs from its network: a fault of alkaid
                print(f"left out, {error}", flush=True)
                del left[file]
                continue
            points[file] = Point(facts.luts_fused, left[file]["accuracy"], accuracy(network, data, "test"))
            print(file.parent.name, file.stem, points[file], flush=True)
    return [points[file] for file in front(left)]


def front(known: Mapping[Path, Mapping[str, float]]) -> list[Path]:
    """The networks that no other with as few LUTs is better than by the accuracy that chooses, by LUTs."""
    found: list[Path] = []
    for file in sorted(known, key=lambda file: (known[file]["luts"], -known[file]["accuracy"])):
        if not found or known[file]["accuracy"] > known[found[-1]]["accuracy"]:
            found.append(file)
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
    budgets = (300, 500, 690, 1000, 1300, 2000, 2600, 3500, 6500)
    print(f"| | {' | '.join(f'{budget:,}' for budget in budgets)} |\n|---|{'---|' * len(budgets)}")
    for name, own in (("HGQ2", theirs), ("chop", points)):
        best = [
            max((p for p in own if p.luts <= budget), key=lambda p: p.chosen_by, default=None) for budget in budgets
        ]
        print(f"| {name} | {' | '.join('none' if p is None else f'{p.luts:,.0f}: {p.test:.4f}' for p in best)} |")
    draw(theirs, points, seconds)


def draw(theirs: Sequence[Point], ours: Sequence[Point], seconds: float) -> None:
    """Draw both by LUTs and test accuracy."""
    figure, axes = new_figure(3.8)
    for name, own in (("HGQ2 0.2.0 (2 x 24 CPU min)", theirs), (f"chop ({seconds / 60:.1f} CPU min)", ours)):
        rows = sorted(own, key=lambda point: point.luts)
        axes.plot([p.luts for p in rows], [p.test for p in rows], "o-", markersize=3, linewidth=1, label=name)
    axes.set_xscale("log")
    whole_ticks(axes.xaxis, (150, 300, 500, 1000, 2000, 4000, 7000))
    axes.set_xlim(140, 7000)
    axes.set_ylim(0.66, 0.75)
    axes.set_xlabel("LUTs (alkaid)")
    axes.set_ylabel("accuracy on the test set")
    axes.legend(loc="lower right")
    axes.grid(linewidth=0.7)
    save(figure, PICTURE)
    print(f"\n{os.path.relpath(PICTURE)} is drawn")
