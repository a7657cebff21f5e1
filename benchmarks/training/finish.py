"""A search that ends in tuned networks, beside a search that trains every trial, at equal CPU time, on the test set."""

from __future__ import annotations

import os
import shutil
import sys
import time
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from saved_picture import save_picture

import chop
from chop.api.study import Study
from chop.tools.threads import one_thread

PICTURE = Path(__file__).parents[2] / "docs" / "pictures" / "finish.svg"
WIDTHS: dict[str, Any] = {
    "name": ["integer"], "data_in_width": [3, 4, 6, 8], "data_in_frac_width": ["auto"], "data_in_range_rule": ["mse"],
    "weight_width": [2, 3, 4, 8], "weight_frac_width": ["auto"], "weight_range_rule": ["mse"], "bias_width": [8],
    "bias_frac_width": ["auto"],
}  # fmt: skip
SPACE = {
    "name": "graph/quantize/mixed_precision_ptq",
    "setup": {"by": "type"},
    "seed": {"default": {"config": {"name": ["NA"]}}, "linear": {"config": WIDTHS}},
}
TOML = """
model = "jsc-mlp"
dataset = "jsc"
batch_size = 512
accelerator = "cpu"
[search.search_space]
name = "graph/quantize/mixed_precision_ptq"
setup.by = "type"
seed.default.config.name = ["NA"]
[search.search_space.seed.linear.config]
"""
TUNING = {"max_epochs": 3, "batch_size": 512, "learning_rate": 2e-3, "lr_scheduler": "cosine"}
ROWS, SAMPLES, TRIALS = 16, 4096, 4000
BUDGETS = (25, 30, 40, 50, 60, 80, 100, 130)
"""BitOPs, in thousands."""


@dataclass(frozen=True)
class Point:
    """A network of a front: BitOPs, accuracy on validation samples, accuracy on the test set."""

    bitops: float
    validation: float
    test: float


@dataclass(frozen=True)
class Front:
    """The front of one way, and the CPU seconds that it took."""

    name: str
    seconds: float
    points: list[Point]

    def best_within(self, bitops: float) -> float | None:
        """The test accuracy of the network that is best on validation samples within so many BitOPs."""
        within = [point for point in self.points if point.bitops <= bitops]
        return max(within, key=lambda point: point.validation).test if within else None


def main() -> None:
    """Print the table, and draw the picture."""
    with one_thread(), TemporaryDirectory() as folder:
        weights, training = space_trained(Path(folder))
        by_float = searched("float weights", 0.0, pretrained=True)
        by_space = searched("space-trained weights", training, weights=weights)
        fronts = [*by_float, each_trained(by_space[1].seconds), *by_space]
    print(f"| | CPU | {' | '.join(f'≤ {k} k' for k in BUDGETS)} |\n|---|---|{'---|' * len(BUDGETS)}")
    for front in fronts:
        cells = [front.best_within(1000 * budget) for budget in BUDGETS]
        shown = " | ".join("–" if cell is None else f"{cell:.3f}" for cell in cells)
        print(f"| {front.name} | {front.seconds:.0f} s | {shown} |", flush=True)
    draw(fronts)


def space_trained(folder: Path) -> tuple[Path, float]:
    """The weights of `ch train --for-space`, and the CPU seconds of the training."""
    config = folder / "space.toml"
    lines = [f"{key} = {value}" for key, value in WIDTHS.items()]
    config.write_text(TOML + "\n".join(lines).replace("'", '"') + STRATEGY, encoding="utf-8")
    command = ["train", "--for-space", "--config", str(config), "--pretrained", "--project-dir", str(folder)]
    started = time.process_time()
    run_command([*command, "--project", "p"])
    return next(folder.rglob("best.safetensors")), time.process_time() - started


STRATEGY = """
[search.strategy]
name = "evolution"
sw_runner.basic_evaluation.num_samples = 4096
hw_runner.bitops = {}
setup.n_trials = 10
metrics.accuracy.direction = "maximize"
metrics.bitops.direction = "minimize"
"""


def run_command(arguments: list[str]) -> None:
    """Run `ch` in this process."""
    from chop.cli.main import app

    with redirect_stdout(sys.stderr):
        app(args=arguments, prog_name="ch", standalone_mode=False)


def searched(name: str, before: float, **model: Any) -> list[Front]:
    """The fronts of a search, before and after its best networks are tuned in two ways; `before` counts with all."""
    with TemporaryDirectory() as folder:
        started, place = time.process_time(), Path(folder) / "search"
        more = {"strategy": "evolution", "n_trials": TRIALS, "folder": place, **model}
        study = run(**more)
        seconds = before + time.process_time() - started
        found = [front(study, f"{name}: search", seconds)]
        for told, finish in (("tuning", {"rows": ROWS}), ("successive tuning", {"rows": 3 * ROWS, "ladder": [1]})):
            copy = shutil.copytree(place, Path(folder) / told)  # else what was tuned before is not tuned again
            started = time.process_time()
            study = run(**{**more, "folder": copy}, finish={**TUNING, **finish}, resume=True)
            found.append(front(study, f"{name}: search, {told}", seconds + time.process_time() - started))
        return found


def front(study: Study, name: str, seconds: float) -> Front:
    """The front of a study."""
    found = []
    for net in study.front_networks:
        tests = net.test_metrics
        assert tests is not None
        found.append(Point(net.metrics["bitops"], net.metrics["accuracy"], tests["accuracy"][0]))
    return Front(name, seconds, found)


def each_trained(seconds: float) -> Front:
    """The front of a search in which every trial is trained from the float weights, in so many CPU seconds."""
    marks = [time.process_time()]
    for few in (2, 6):  # their difference leaves out what a search takes before its first trial
        run_each(few)
        marks.append(time.process_time())
    each = (marks[2] - 2 * marks[1] + marks[0]) / 4
    started, trials = time.process_time(), max(4, round(seconds / each))
    study = run_each(trials)
    return front(study, f"float weights: {trials} trials, each trained", time.process_time() - started)


def run_each(trials: int) -> Study:
    """A search by `surrogate` that trains each of its networks from the float weights."""
    runners = {"basic_train": {**TUNING, "eval_samples": SAMPLES}, "bitops": {}}
    return run(strategy="surrogate", n_trials=trials, runners=runners, pretrained=True)


def run(**more: Any) -> Study:
    """A search of the space; BitOPs and accuracy."""
    given: dict[str, Any] = {"model": "jsc-mlp", "data": "jsc", "space": chop.Space.from_table(SPACE), **more}
    if "runners" not in given:
        given["num_samples"] = SAMPLES
    return chop.search(objectives=["accuracy", "bitops"], batch_size=512, device="cpu", seed=0, **given)


def draw(fronts: list[Front]) -> None:
    """Draw the fronts by test accuracy."""
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "chop"
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(7, 4.2), layout="constrained")
    for one in fronts:
        points = sorted(one.points, key=lambda point: point.bitops)
        x, y = [point.bitops / 1000 for point in points], [point.test for point in points]
        axes.plot(x, y, "o-", markersize=3, linewidth=1, label=f"{one.name} ({one.seconds:.0f} s)")
    axes.set_xlim(20, 160)
    axes.set_ylim(0.55, 0.76)
    axes.set_xlabel("BitOPs, thousands")
    axes.set_ylabel("accuracy on the test set")
    axes.legend(fontsize=8)
    axes.grid(alpha=0.3)
    save_picture(figure, PICTURE)
    print(f"\n{os.path.relpath(PICTURE)} is drawn")
