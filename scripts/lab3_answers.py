"""Print the figures of docs/tutorials/lab3.md and draw its pictures, by the commands of the page: `make answers`."""

from __future__ import annotations

import io
import re
import shlex
import statistics
import subprocess
import sys
import tempfile
from contextlib import redirect_stdout
from pathlib import Path
from shutil import copyfile
from typing import Any

import torch

from chop.actions.search import search
from chop.config.toml_document import TomlDocument
from chop.dataset import MaseDataModule
from chop.models import get_model
from chop.tools.logger import set_logging_verbosity

ROOT = Path(__file__).resolve().parent.parent
EXAMPLES = ROOT / "machop" / "configs" / "examples"
PICTURES = ROOT / "docs" / "pictures"
PAGE = ROOT / "docs" / "tutorials" / "lab3.md"
COMPARISON = re.compile(r"^\$ machop/ch (compare .*)$", re.MULTILINE)
BLUE, ORANGE = "#0072b2", "#d55e00"


def run(file: str) -> Any:
    """The result of an example's search."""
    document = TomlDocument.read(EXAMPLES / file)
    data = MaseDataModule(document.data["dataset"], batch_size=512)
    data.setup()
    table = document.data["search"]
    model = get_model(document.data["model"], pretrained=True)
    with tempfile.TemporaryDirectory() as folder, redirect_stdout(io.StringIO()):
        return search(model, data, table, folder)


def rank_correlation(a: list[float], b: list[float]) -> float:
    """Spearman's: the correlation of the ranks, equal values sharing theirs."""
    ranks = [[(sum(y < x for y in c) + sum(y <= x for y in c) + 1) / 2 for x in c] for c in (a, b)]
    return statistics.correlation(*ranks)


def one_metric_or_two() -> None:
    """Task 1: accuracy and loss rank the networks almost alike."""
    result = run("jsc_tiny_brute_force.toml")
    rows = [trial.metrics for trial in result.trials]
    correlation = rank_correlation([row["accuracy"] for row in rows], [row["loss"] for row in rows])
    print(f"rank correlation of accuracy and loss over the 18 networks: {correlation:.3f}")
    bits = rank_correlation([row["accuracy"] for row in rows], [row["average_bitwidth"] for row in rows])
    print(f"rank correlation of accuracy and bitwidth: {bits:.3f}")
    draw(rows, [row.trial.metrics for row in result.best])


def draw(rows: list[dict[str, float]], front: list[dict[str, float]]) -> None:
    """Two pairs of metrics of all networks: one that agrees, and one that is a choice, with its front."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    mpl.rcParams |= {"svg.hashsalt": "chop", "font.size": 9}
    figure = Figure(figsize=(7, 2.8), layout="constrained")
    agreeing, choice = figure.subplots(1, 2, sharey=True)
    accuracies = [row["accuracy"] for row in rows]
    agreeing.scatter([row["loss"] for row in rows], accuracies, color=BLUE, s=18)
    agreeing.set(xlabel="loss", ylabel="accuracy", title="they agree")
    choice.scatter([row["average_bitwidth"] for row in rows], accuracies, color=BLUE, s=18, label="dominated")
    ordered = sorted((row["average_bitwidth"], row["accuracy"]) for row in front)
    choice.plot(
        *zip(*ordered, strict=True), color=ORANGE, marker="D", markersize=4, lw=1, ds="steps-post", label="Pareto front"
    )
    choice.set(xlabel="average bit width", title="one is paid with the other")
    choice.legend(frameon=False)
    for axes in (agreeing, choice):
        axes.grid(color="#dddddd", linewidth=0.5)
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(PICTURES / "lab3_metrics.svg", metadata={"Date": None})


def more_metrics() -> None:
    """Task 2: costs beside accuracy."""
    result = run("jsc_tiny_more_metrics.toml")
    print(f"accuracy, size and latency: a front of {len(result.best)} among {len(result.trials)} networks")
    flops = {trial.metrics["flops"] for trial in result.trials}
    print(f"FLOPs of all networks: {flops}")


def brute_force_against_tpe() -> None:
    """Task 4: both comparisons as the page has them, with their pictures."""
    commands = COMPARISON.findall(PAGE.read_text(encoding="utf-8"))
    for name, command in zip(("lab3_tiny", "lab3_toy"), commands, strict=True):
        with tempfile.TemporaryDirectory() as text:
            folder = Path(text)
            (folder / "machop").symlink_to(ROOT / "machop")
            subprocess.run([sys.executable, "-m", "chop.cli", *shlex.split(command)], cwd=folder, check=True)
            (drawn,) = (folder / "mase_output").rglob("hypervolume.svg")
            copyfile(drawn, PICTURES / f"{name}.svg")


def main() -> None:
    """All figures."""
    torch.set_num_threads(1)
    set_logging_verbosity("error")
    one_metric_or_two()
    more_metrics()
    brute_force_against_tpe()


if __name__ == "__main__":
    main()
