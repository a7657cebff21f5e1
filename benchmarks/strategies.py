"""Evaluations that strategies need on enumerated spaces, by `ch compare`: `make bench-strategies`, an hour and more.

Two of the spaces, the toy residual and shapes-cnn, served to choose between a few variants of `surrogate`; the others
tuned no strategy. Optuna's `gp` takes up to a second of its own for a trial, so it has fewer seeds and evaluations.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from chop.actions.oracle import Oracle
from chop.record.landscape import Landscape
from chop.record.names import LANDSCAPE_FILE

ROOT = Path(__file__).resolve().parents[1]
EXAMPLES = ROOT / "machop" / "configs" / "examples"
HELD_OUT = ("toy_residual_brute_force", "shapes_cnn_brute_force", "jsc_s_brute_force", "jsc_toy_two_formats")
STRATEGIES = "surrogate,sensitivity,greedy,evolution,tpe,nsgaii,random,uniform"
SLOW = "gp"
TARGETS = ("0.90", "0.95", "0.98", "0.99")


def compare(space: str, strategies: str, seeds: int, budget: int, folder: Path) -> dict[str, Any]:
    """All figures of a comparison, as `summary.json` has them."""
    project = f"{space}-{strategies.partition(',')[0]}"
    config = EXAMPLES / f"{space}.toml"
    command = [sys.executable, "-m", "chop.cli", "compare", "--config", str(config), "--pretrained", "--json"]
    command += ["--strategies", strategies, "--seeds", str(seeds), "--budget", str(budget)]
    command += ["--project-dir", str(folder), "--project", project]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=environment)
    found: dict[str, Any] = json.loads(
        (folder / project / "software" / "compare" / "summary.json").read_text(encoding="utf-8")
    )
    return found


def table(summaries: list[dict[str, Any]]) -> list[str]:
    """Markdown: a row for each strategy, the fewest evaluations to 95 % first."""
    lines = ["| | seeds | for 90 % | for 95 % | for 98 % | for 99 % | at the end | ms a trial |", f"|{'---|' * 8}"]
    rows = [(name, one, own) for own in summaries for name, one in own["strategies"].items()]
    for name, one, own in sorted(rows, key=lambda row: (median(row[1], "0.95"), -at_end(row[1]))):
        reached = [f"{median(one, target):g}".replace("inf", "") for target in TARGETS]
        cells = [f"`{name}`", str(one["runs"]), *reached, f"{at_end(one):.1%} ({own['budget']})"]
        lines.append(f"| {' | '.join(cells)} | {1e3 * one['seconds_per_trial']:.2g} |")
    return lines


def best_order(landscape: Path) -> str:
    """How few evaluations an order needs that knows all networks, and always takes the one that adds most."""
    oracle = Oracle(Landscape.read(landscape))
    chosen: list[int] = []
    needed = dict.fromkeys(TARGETS, 0)
    while not all(needed.values()):
        left = [index for index in oracle.front.index.tolist() if index not in chosen]
        chosen.append(max(left, key=lambda index: oracle.hypervolume([*chosen, index])))
        reached = oracle.hypervolume(chosen)
        needed = {target: had or len(chosen) * (reached >= float(target)) for target, had in needed.items()}
    told = ", ".join(f"{100 * float(target):g} % after {count}" for target, count in needed.items())
    return f"An order that knows all networks has {told}."


def median(strategy: dict[str, Any], target: str) -> float:
    """The median of the evaluations to a share of the hypervolume; infinite where that is not reached."""
    found = strategy["evaluations_to"][target]["median"]
    return float("inf") if found is None else float(found)


def at_end(strategy: dict[str, Any]) -> float:
    """The median of the hypervolume when the budget is spent."""
    volumes = strategy["hypervolume_at"]
    return float(volumes[max(volumes, key=int)]["median"])


def main() -> None:
    """Compare the strategies on each of the spaces, and print a table for each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("spaces", nargs="*", default=HELD_OUT, help="examples, by name")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--budget", type=int, default=300)
    parser.add_argument("--slow-seeds", type=int, default=3, help=f"seeds of {SLOW}")
    parser.add_argument("--slow-budget", type=int, default=150, help=f"budget of {SLOW}")
    parser.add_argument("--folder", type=Path, default=Path("mase_output/bench-strategies"))
    asked = parser.parse_args()
    for space in asked.spaces:
        summaries = [compare(space, STRATEGIES, asked.seeds, asked.budget, asked.folder)]
        if asked.slow_seeds:
            summaries.append(compare(space, SLOW, asked.slow_seeds, asked.slow_budget, asked.folder))
        size = f"{summaries[0]['space_size']:,} networks"
        known = asked.folder / f"{space}-{STRATEGIES.partition(',')[0]}" / "software" / "compare" / LANDSCAPE_FILE
        print("\n".join(["", f"**{space}**, {size}:", "", *table(summaries), "", best_order(known)]), flush=True)


if __name__ == "__main__":
    main()
