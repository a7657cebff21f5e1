"""Store and write the figures of docs/tutorials/lab3.md, docs/how_to/compare.md and README: `make answers`."""

from __future__ import annotations

import io
import shlex
import statistics
import subprocess
import sys
import tempfile
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import torch
from pictures.dark import with_dark_colours
from pictures.style import BLUE, ORANGE, WIDTH, new_figure
from pictures.style import save as save_picture
from stored_results import COMPARED, compared, store

from chop.actions.search import search
from chop.config.toml_document import TomlDocument
from chop.dataset import MaseDataModule
from chop.models import get_model
from chop.record.comparison import CompareSummary
from chop.record.comparison_folder import ComparisonFolder
from chop.report.compare_plots import hypervolume
from chop.report.plots.matplotlib_settings import FOR_COMPARISONS, rendered
from chop.tools.logger import set_logging_verbosity

ROOT = Path(__file__).resolve().parent.parent
EXAMPLES = ROOT / "machop" / "configs" / "examples"
PICTURES = ROOT / "docs" / "pictures"
PICTURE_OF = {"jsc_tiny": "lab3_tiny", "jsc_toy": "lab3_toy"}


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


def one_metric_or_two() -> list[str]:
    """Task 1: accuracy and loss rank the networks almost alike."""
    result = run("jsc_tiny_brute_force.toml")
    rows = [trial.metrics for trial in result.trials]
    correlation = rank_correlation([row["accuracy"] for row in rows], [row["loss"] for row in rows])
    bits = rank_correlation([row["accuracy"] for row in rows], [row["average_bitwidth"] for row in rows])
    draw(rows, [row.trial.metrics for row in result.best])
    return [
        f"rank correlation of accuracy and loss over the 18 networks: {correlation:.3f}",
        f"rank correlation of accuracy and bitwidth: {bits:.3f}",
    ]


def draw(rows: list[dict[str, float]], front: list[dict[str, float]]) -> None:
    """Two pairs of metrics of all networks: one that agrees, and one that is a choice, with its front."""
    figure, (agreeing, choice) = new_figure(2.7, columns=2, sharey=True)
    accuracies = [row["accuracy"] for row in rows]
    agreeing.scatter([row["loss"] for row in rows], accuracies, color=BLUE, s=18)
    agreeing.set(xlabel="loss", ylabel="accuracy", title="they agree")
    choice.scatter([row["average_bitwidth"] for row in rows], accuracies, color=BLUE, s=18, label="dominated")
    ordered = sorted((row["average_bitwidth"], row["accuracy"]) for row in front)
    choice.plot(
        *zip(*ordered, strict=True), color=ORANGE, marker="D", markersize=4, lw=1, ds="steps-post", label="Pareto front"
    )
    choice.set(xlabel="average bit width", title="one is paid with the other")
    choice.legend()
    for axes in (agreeing, choice):
        axes.grid(linewidth=0.7)
    save_picture(figure, PICTURES / "lab3_metrics.svg")


def draw_hypervolume(summary: CompareSummary, name: str) -> None:
    """The share of the exact front's hypervolume by evaluation, as `ch compare` draws it, narrow enough for a phone."""
    import matplotlib as mpl

    with mpl.rc_context(FOR_COMPARISONS):
        drawn = rendered(hypervolume(summary, WIDTH), "svg", settings=FOR_COMPARISONS)
    (PICTURES / f"{name}.svg").write_text(with_dark_colours(drawn.decode("utf-8")), encoding="utf-8")


def more_metrics() -> list[str]:
    """Task 2: costs beside accuracy."""
    result = run("jsc_tiny_more_metrics.toml")
    flops = {trial.metrics["flops"] for trial in result.trials}
    return [
        f"accuracy, size and latency: a front of {len(result.best)} among {len(result.trials)} networks",
        f"FLOPs of all networks: {flops}",
    ]


def brute_force_against_tpe(name: str) -> dict[str, Any]:
    """Task 4: a comparison of the pages, with its picture if the lab shows it; what is stored of it."""
    with tempfile.TemporaryDirectory() as text:
        folder = Path(text)
        (folder / "machop").symlink_to(ROOT / "machop")
        subprocess.run([sys.executable, "-m", "chop.cli", *shlex.split(COMPARED[name])], cwd=folder, check=True)
        (drawn,) = (folder / "mase_output").rglob("hypervolume.svg")
        summary = ComparisonFolder(drawn.parent).summary
        if name in PICTURE_OF:
            draw_hypervolume(summary, PICTURE_OF[name])
        return compared(summary)


def main() -> None:
    """All figures, into docs/results and the pages."""
    torch.set_num_threads(1)
    set_logging_verbosity("error")
    lines = one_metric_or_two() + more_metrics()
    print("\n".join(lines), flush=True)
    store("metrics", {"lines": lines})
    store("comparisons", {name: brute_force_against_tpe(name) for name in COMPARED})


if __name__ == "__main__":
    main()
