"""Print the figures of tasks 1 and 2 in docs/tutorials/lab3.md, and draw the picture of task 1: `make answers`."""

from __future__ import annotations

import io
import statistics
import tempfile
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import torch

from chop.actions.search import search
from chop.config.toml_document import TomlDocument
from chop.dataset import MaseDataModule
from chop.models import get_model
from chop.tools.logger import set_logging_verbosity

ROOT = Path(__file__).resolve().parent.parent
EXAMPLES = ROOT / "machop" / "configs" / "examples"
PICTURE = ROOT / "docs" / "pictures" / "lab3_metrics.svg"
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
    figure.savefig(PICTURE, metadata={"Date": None})


def more_metrics() -> None:
    """Task 2: costs beside accuracy."""
    result = run("jsc_tiny_more_metrics.toml")
    print(f"accuracy, size and latency: a front of {len(result.best)} among {len(result.trials)} networks")
    flops = {trial.metrics["flops"] for trial in result.trials}
    print(f"FLOPs of all networks: {flops}")


def main() -> None:
    """All figures."""
    torch.set_num_threads(1)
    set_logging_verbosity("error")
    one_metric_or_two()
    more_metrics()


if __name__ == "__main__":
    main()
