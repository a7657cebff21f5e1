"""jsc-mlp from float to Verilog: widths and pruned weights by LUTs, the front trained, its circuits synthesised."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from lut_fronts.commands import EXAMPLES, FOLDER, PICTURES, ch, checkpoints
from lut_fronts.drawing import drawing
from lut_fronts.exports import Built, build, print_built, tested
from lut_fronts.spaces import Values, front_by, sparsities_of
from saved_picture import INK, MUTED, PURPLE

import chop
from chop.actions.search.search_space.codes import codes_of_range
from chop.api.network import Network
from chop.record.landscape import Landscape

PROJECT = "jsc-mlp-luts"
CONFIG = EXAMPLES / "jsc_mlp_luts.toml"
SPARSITIES = (0.0, 0.5, 0.75)
LEVELS = (0.68, 0.69, 0.70, 0.71, 0.72, 0.73)
TICKS = (200, 500, 1_000, 2_000, 5_000, 10_000, 40_000)
BUDGETS = (2_500, 6_000, 9_149)
"""LUTs: the best network within each is exported; the last is what AutoQKeras' QE takes."""

VU9P = 1_182_240
"""LUTs of the chip of the papers."""

PUBLISHED: dict[str, list[tuple[float, float]]] = {
    "hls4ml Q6, QE": [(39_782, 0.748), (9_149, 0.723)],
    "HGQ-1 to HGQ-6": [
        (0.0053 * VU9P, 0.764), (0.0027 * VU9P, 0.759), (0.0013 * VU9P, 0.750), (0.0005 * VU9P, 0.739),
        (0.0004 * VU9P, 0.725), (0.0002 * VU9P, 0.710),
    ],
}  # fmt: skip
"""LUTs and accuracy on the data set of the papers (arXiv:2006.10159, arXiv:2405.00645; of HGQ the rounded share of the
chip is stated), after place and route by Vivado; all but the last three use DSPs as well."""


def main() -> None:
    """Run the commands, print the tables and draw the picture."""
    training = ch("jsc-mlp-training", "train", "--config", str(CONFIG), "--for-space", "--pretrained", project=PROJECT)
    weights = FOLDER / PROJECT / "software" / "training_ckpts" / "best.safetensors"
    search = ch(PROJECT, "search", "--config", str(CONFIG), "--load", str(weights), project=PROJECT)
    print(f"training for the space: {training}\nsearch, its best networks trained: {search}\n", flush=True)
    table = Landscape.read(checkpoints(PROJECT) / "landscape.parquet").metrics
    networks = sorted(chop.load_study(checkpoints(PROJECT)).front_networks, key=lambda own: own.metrics["luts"])
    fronts = fronts_by_sparsity(table)
    print_least_luts(table, fronts, networks)
    built = [build(PROJECT, network) for network in within_budgets(networks)]
    print_built(built)
    draw(table, fronts, networks, built)


def fronts_by_sparsity(table: Mapping[str, Values]) -> dict[float, Values]:
    """The front of the networks whose layers have at most so much sparsity, before they are trained, by rising LUTs."""
    choices = sparsities_of(CONFIG)
    codes = codes_of_range(0, len(table["luts"]), [len(own) for own in choices])
    most = np.max([own[codes[:, place]] for place, own in enumerate(choices)], axis=0)
    fronts = {}
    for sparsity in SPARSITIES:
        points = np.flatnonzero(most <= sparsity)
        fronts[sparsity] = points[front_by({name: own[points] for name, own in table.items()}, "luts")]
    return fronts


def print_least_luts(table: Mapping[str, Values], fronts: Mapping[float, Values], networks: Sequence[Network]) -> None:
    """The fewest LUTs at an accuracy on validation samples: before training, by sparsity, and trained."""
    print("LUTs of the cheapest network with an accuracy of at least\n")
    print(f"| | {' | '.join(f'{level:.2f}' for level in LEVELS)} |\n|---|{'---|' * len(LEVELS)}")
    rows = {
        f"space-trained weights, sparsity up to {100 * sparsity:.0f} %": [
            (float(table["luts"][point]), float(table["accuracy"][point])) for point in points
        ]
        for sparsity, points in fronts.items()
    }
    rows["the front, each network trained"] = [(own.metrics["luts"], own.metrics["accuracy"]) for own in networks]
    for name, points_of in rows.items():
        least = [min((luts for luts, accuracy in points_of if accuracy >= level), default=None) for level in LEVELS]
        print(f"| {name} | {' | '.join('–' if own is None else f'{own:,.0f}' for own in least)} |", flush=True)


def within_budgets(networks: Sequence[Network]) -> list[Network]:
    """The network of the best validation accuracy within each budget, each once."""
    best = [
        max((own for own in networks if own.metrics["luts"] <= budget), key=lambda own: own.metrics["accuracy"])
        for budget in BUDGETS
    ]
    return list(dict.fromkeys(best))


def draw(
    table: Mapping[str, Values],
    fronts: Mapping[float, Values],
    networks: Sequence[Network],
    built: Sequence[Built],
) -> None:
    """Draw the fronts by validation accuracy, the circuits by test accuracy, and the published points."""
    with drawing(PICTURES / "luts_jsc_mlp.svg", 5.6, TICKS) as axes:
        for sparsity, points in fronts.items():
            pruned = f"up to {100 * sparsity:.0f} %" if sparsity else "none"
            label = f"weights of one training, pruned: {pruned}"
            axes.plot(table["luts"][points], table["accuracy"][points], "-", linewidth=1, label=label)
        luts = [own.metrics["luts"] for own in networks]
        accuracy = [own.metrics["accuracy"] for own in networks]
        axes.plot(
            luts, accuracy, "o-", color=INK, markersize=3, linewidth=1.2, label="each network of the front trained"
        )
        test = [tested(own)[0] for own in networks]
        axes.plot(luts, test, ".:", color=INK, linewidth=1, markersize=3, label="the same on the test set")
        luts = [own.cells.get("luts", own.manifest["facts"]["luts"]) for own in built]
        found = np.array([tested(own.network) for own in built])
        errors = np.abs(found[:, 1:] - found[:, :1]).T
        axes.errorbar(
            luts,
            found[:, 0],
            errors,
            fmt="*",
            color=PURPLE,
            capsize=2,
            label="as Verilog (LUTs by Yosys), on the test set",
        )
        for marker, (name, pairs) in zip("^v", PUBLISHED.items(), strict=True):
            own = np.array(pairs)
            label = f"{name} (another data set)"
            axes.plot(own[:, 0], own[:, 1], marker, color=MUTED, fillstyle="none", linewidth=0, label=label)
        axes.set_ylim(0.61, 0.77)
        axes.set_xlabel("LUTs")
        axes.set_ylabel("accuracy on validation or test samples")
