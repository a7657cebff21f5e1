"""All 1,889,568 networks of jsc-s: the exact front of accuracy against LUTs, beside fronts that were chosen by bits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from lut_fronts.commands import EXAMPLES, PICTURES, ch, checkpoints
from lut_fronts.drawing import drawing
from lut_fronts.spaces import front_by
from lut_fronts.whole_circuits import data_of, whole_circuit
from saved_picture import BLUE, GREEN, ORANGE

import chop
from chop.record.landscape import Landscape
from chop.tools.threads import one_thread

PROJECT = "jsc-s-luts"
COSTS = ("luts", "ebops", "bitops", "average_bitwidth")
LEVELS = (0.60, 0.65, 0.68, 0.70, 0.71, 0.72, 0.73, 0.74)
BUDGETS = (10_000, 12_000, 14_000, 16_000, 18_000, 20_000, 25_000, 30_000)
TICKS = (8_000, 12_000, 20_000, 30_000, 60_000)
CLOUD = 40_000
"""Networks of the space that are drawn as a cloud."""

WHOLE = 8
"""Networks of the front that are built as whole circuits."""

Values = np.ndarray[Any, Any]


def main() -> None:
    """Search, print the tables, build some whole circuits and draw the picture."""
    spent = ch(PROJECT, "search", "--config", str(EXAMPLES / "jsc_s_luts.toml"), "--pretrained", project=PROJECT)
    table = Landscape.read(checkpoints(PROJECT) / "landscape.parquet").metrics
    fronts = {cost: front_by(table, cost) for cost in COSTS}
    print(f"{len(table['luts']):,} networks in {spent}; {len(fronts['luts'])} on the exact front\n")
    print_least_luts(table, fronts)
    print_best_accuracy(table, fronts)
    confirm(table, fronts["luts"])
    draw(table, fronts)


def print_least_luts(table: Mapping[str, Values], fronts: Mapping[str, Values]) -> None:
    """The LUTs of the network that each cost finds the cheapest at an accuracy."""
    print("LUTs of the cheapest network, by the cost in the first column, with an accuracy of at least\n")
    print(f"| cost | {' | '.join(f'{level:.2f}' for level in LEVELS)} |\n|---|{'---|' * len(LEVELS)}")
    least = [_cheapest(table, fronts["luts"], level) for level in LEVELS]
    for cost, points in fronts.items():
        luts = [_cheapest(table, points, level) for level in LEVELS]
        more = [
            "" if own == best else f" (+{100 * (own / best - 1):.0f} %)" for own, best in zip(luts, least, strict=True)
        ]
        cells = [f"{own:,.0f}{extra}" for own, extra in zip(luts, more, strict=True)]
        print(f"| {cost} | {' | '.join(cells)} |")


def _cheapest(table: Mapping[str, Values], points: Values, level: float) -> float:
    reached = points[table["accuracy"][points] >= level]
    return float(table["luts"][reached[0]])


def print_best_accuracy(table: Mapping[str, Values], fronts: Mapping[str, Values]) -> None:
    """The best accuracy within so many LUTs, among the networks of each front."""
    print("\nBest accuracy within so many LUTs, among the networks of the front by each cost\n")
    print(f"| cost | {' | '.join(f'{budget:,}' for budget in BUDGETS)} |\n|---|{'---|' * len(BUDGETS)}")
    for cost, points in fronts.items():
        within = [table["accuracy"][points[table["luts"][points] <= budget]] for budget in BUDGETS]
        print(f"| {cost} | {' | '.join(f'{own.max():.3f}' if len(own) else '–' for own in within)} |", flush=True)


def confirm(table: Mapping[str, Values], points: Values) -> None:
    """Print the LUTs of whole circuits beside the sums by layer, for some networks of the front."""
    study = chop.load_study(checkpoints(PROJECT), model=chop.get_model("jsc-s", pretrained=True), data="jsc")
    some = points[np.linspace(0, len(points) - 1, WHOLE).round().astype(int)].tolist()
    print("\nWhole circuits, which equal their networks on the whole test set\n")
    print("| trial | test accuracy | LUTs by layer | whole circuit | ratio | cycles |\n|---|---|---|---|---|---|")
    data = data_of("jsc")
    with one_thread():
        for number in some:
            whole, luts = whole_circuit(study, study[number], data), table["luts"][number]
            shown = (f"{whole['accuracy']:.3f}", f"{luts:,.0f}", f"{whole['luts']:,.0f}", f"{luts / whole['luts']:.3f}")
            print(f"| {number} | {' | '.join(shown)} | {whole['cycles']:.0f} |", flush=True)


def draw(table: Mapping[str, Values], fronts: Mapping[str, Values]) -> None:
    """Draw all networks as a cloud, the exact front, and the networks that other costs would have chosen."""
    names = {"luts": "LUTs: the exact front", "ebops": "chosen by EBOPs", "bitops": "chosen by BitOPs",
             "average_bitwidth": "chosen by average bit width"}  # fmt: skip
    some = np.random.default_rng(0).choice(len(table["luts"]), CLOUD, replace=False)
    with drawing(PICTURES / "luts_jsc_s.svg", 4.4, TICKS) as axes:
        axes.plot(table["luts"][some], table["accuracy"][some], ",", color="0.7", rasterized=True, zorder=0)
        for cost in ("average_bitwidth", "bitops", "luts"):
            points = fronts[cost]
            axes.plot(table["luts"][points], table["accuracy"][points], label=names[cost], **_style(cost))
        axes.set_ylim(0.4, 0.77)
        axes.set_xlabel("LUTs, added up by layer")
        axes.set_ylabel("accuracy on 2,048 validation samples")


def _style(cost: str) -> dict[str, Any]:
    if cost == "luts":
        return {"marker": "o", "markersize": 2.5, "linewidth": 1.2, "zorder": 3, "color": GREEN}
    marker, color = ("x", ORANGE) if cost == "bitops" else ("s", BLUE)
    return {"marker": marker, "color": color, "markersize": 3.5, "linewidth": 0, "alpha": 0.8}
