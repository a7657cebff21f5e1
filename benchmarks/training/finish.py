"""A search that ends in tuned networks, beside a search that trains every trial, at equal CPU time, on the test set.

The search that trains every trial runs once a seed, for as long as the longest of the ways; its record is cut at the
CPU seconds of each.
"""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from saved_picture import BLUE, INK, ORANGE, SKY, new_figure, save

import chop
from chop.actions.search.search_space.base import Point as SpacePoint
from chop.actions.search.strategies.product.surrogate import Surrogate, SurrogateOptions
from chop.actions.search.strategies.runners.basic_train import BasicTrain
from chop.api.study import Study
from chop.dataset.data import Data
from chop.evaluation.predictions import accumulated, stream
from chop.ir import MaseGraph
from chop.record.front import Front as Undominated
from chop.scoring.metric import Metric
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
SEEDS = (0,)
EACH_TRAINED = "float weights: `surrogate`, each trial trained"
BUDGETS = (30, 40, 50, 60, 80, 100, 130)
"""BitOPs, in thousands."""


@dataclass(frozen=True)
class Point:
    """A network: BitOPs, accuracy on validation samples, accuracy on the test set."""

    bitops: float
    validation: float
    test: float


@dataclass(frozen=True)
class Front:
    """The networks that one way finds with one seed, and the CPU seconds that it took."""

    name: str
    seconds: float
    points: list[Point]

    def best_within(self, bitops: float) -> float | None:
        """The test accuracy of the network that is best on validation samples within so many BitOPs."""
        within = [point for point in self.points if point.bitops <= bitops]
        return max(within, key=lambda point: point.validation).test if within else None


class Clock:
    """CPU seconds of this process; the time within `stopped` does not count."""

    def __init__(self) -> None:
        self._left_out = 0.0

    @property
    def seconds(self) -> float:
        """What it shows."""
        return time.process_time() - self._left_out

    @contextmanager
    def stopped(self) -> Iterator[None]:
        """Leave out what is done meanwhile."""
        started = time.process_time()
        yield
        self._left_out += time.process_time() - started


CLOCK = Clock()


class TrainsByTheClock(BasicTrain):
    """`basic_train`, the accuracy on the test set, and the time of the clock, which leaves that test out."""

    @classmethod
    def metrics_of(cls, data_module: Data | None) -> tuple[Metric, ...]:
        own = (Metric("test_accuracy", "", "maximize", (0.0, 1.0)), Metric("cpu", "s", "minimize"))
        return (*super().metrics_of(data_module), *own)

    def measure(self, graph: MaseGraph) -> dict[str, float]:
        found, seconds, data = super().measure(graph), CLOCK.seconds, self.data_module
        with CLOCK.stopped():
            batches = stream(graph.model, data.batches("test_dataloader", None), "cpu", data.output)
            tested = accumulated(data.task.accumulator(), batches).result()
        return {**found, "test_accuracy": tested["accuracy"], "cpu": seconds}


@dataclass(frozen=True)
class UntilOptions(SurrogateOptions):
    """The time of the clock after which nothing more is proposed."""

    until: float = 0.0


class SurrogateUntil(Surrogate):
    """`surrogate`, which ends by the clock."""

    Options = UntilOptions

    def ask(self, n: int) -> list[SpacePoint]:
        return [] if CLOCK.seconds > self.options.until else super().ask(n)


def main() -> None:
    """Print the table, and draw the picture."""
    with one_thread():
        runs = [all_ways(seed) for seed in SEEDS]
    print(f"| | CPU | {' | '.join(f'≤ {k} k' for k in BUDGETS)} |\n|---|---|{'---|' * len(BUDGETS)}")
    for fronts in zip(*runs, strict=True):
        cells = [span([front.best_within(1000 * budget) for front in fronts]) for budget in BUDGETS]
        seconds = span([front.seconds for front in fronts], ".0f")
        print(f"| {fronts[0].name} | {seconds} s | {' | '.join(cells)} |", flush=True)
    draw(runs[0])


def span(values: list[float | None], form: str = ".3f") -> str:
    """The lowest and the highest of the values of all seeds, where each has one."""
    found = sorted(value for value in values if value is not None)
    if len(found) < len(values):
        return "–"
    return "–".join(dict.fromkeys(format(value, form) for value in (found[0], found[-1])))


def all_ways(seed: int) -> list[Front]:
    """The front of each way; behind each way that tunes, what `surrogate` finds in the same time."""
    with TemporaryDirectory() as folder:
        weights, training = space_trained(Path(folder), seed)
        by_float = searched("float weights", 0.0, [TUNED], pretrained=True, seed=seed)
        by_space = searched("space-trained weights", training, [TUNED, CLIMBED], weights=weights, seed=seed)
    trials = each_trained(max(way.seconds for way in (*by_float, *by_space)), seed)
    found = []
    for untuned, *tuned in (by_float, by_space):
        found.append(untuned)
        for way in tuned:
            found += [way, cut(trials, way.seconds)]
    return found


def space_trained(folder: Path, seed: int) -> tuple[Path, float]:
    """The weights of `ch train --for-space`, and the CPU seconds of the training."""
    config = folder / "space.toml"
    lines = [f"{key} = {value}" for key, value in WIDTHS.items()]
    config.write_text(TOML + "\n".join(lines).replace("'", '"') + STRATEGY, encoding="utf-8")
    command = ["train", "--for-space", "--config", str(config), "--pretrained", "--project-dir", str(folder)]
    started = time.process_time()
    run_command([*command, "--project", "p", "--seed", str(seed)])
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


TUNED = ("tuning", {"rows": ROWS})
CLIMBED = ("successive tuning", {"rows": 3 * ROWS, "ladder": [1]})


def searched(name: str, before: float, ways: list[tuple[str, dict[str, Any]]], **more: Any) -> list[Front]:
    """The fronts of a search, and after its best networks are tuned in each of the `ways`; `before` counts with all."""
    with TemporaryDirectory() as folder:
        started, place = time.process_time(), Path(folder) / "search"
        more = {"strategy": "evolution", "n_trials": TRIALS, "folder": place, **more}
        study = run(**more)
        seconds = before + time.process_time() - started
        found = [front(study, f"{name}: search", seconds)]
        for told, finish in ways:
            copy = shutil.copytree(place, Path(folder) / told)  # else what was tuned before is not tuned again
            started = time.process_time()
            study = run(**{**more, "folder": copy}, finish={**TUNING, "seed": more["seed"], **finish}, resume=True)
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


@dataclass(frozen=True)
class TimedPoint(Point):
    """A network, and the CPU seconds until it was found."""

    seconds: float


def each_trained(seconds: float, seed: int) -> list[TimedPoint]:
    """All trials of a search in which each is trained from the float weights, for so many CPU seconds or a bit more."""
    began = CLOCK.seconds
    training = {**TUNING, "seed": seed, "eval_samples": SAMPLES}
    study = run(
        strategy=SurrogateUntil, strategy_options={"until": began + seconds}, n_trials=10_000,
        runners={TrainsByTheClock: training, "bitops": {}}, pretrained=True, seed=seed,
    )  # fmt: skip
    found = [net.metrics for net in study]
    return [TimedPoint(own["bitops"], own["accuracy"], own["test_accuracy"], own["cpu"] - began) for own in found]


def cut(trials: list[TimedPoint], seconds: float) -> Front:
    """The front of the trials that were found in so many CPU seconds."""
    within = [trial for trial in trials if trial.seconds <= seconds]
    costs = np.array([(trial.bitops, -trial.validation) for trial in within])
    best = Undominated.of(costs, np.arange(len(costs))).index
    return Front(EACH_TRAINED, seconds, [within[number] for number in best])


def run(**more: Any) -> Study:
    """A search of the space; BitOPs and accuracy."""
    given: dict[str, Any] = {"model": "jsc-mlp", "data": "jsc", "space": chop.Space.from_table(SPACE), **more}
    if "runners" not in given:
        given["num_samples"] = SAMPLES
    return chop.search(objectives=["accuracy", "bitops"], batch_size=512, device="cpu", **given)


def draw(fronts: list[Front]) -> None:
    """Draw a panel for each way that tunes: the search alone, the tuned front, each trial trained in the same time."""
    panels = tuned_ways(fronts)
    figure, grid = new_figure(1.1 + 2.1 * len(panels), rows=len(panels), sharex=True, sharey=True, squeeze=False)
    for axes, (search, tuned, trials) in zip(grid.ravel(), panels, strict=True):
        weights, _, way = tuned.name.partition(": ")
        axes.set_title(weights)
        draw_front(axes, search, "search alone", color=SKY, linestyle=":")
        draw_front(axes, trials, "each trial trained", color=ORANGE, linestyle="--")
        draw_front(axes, tuned, way, color=BLUE)
        axes.grid(linewidth=0.7)
        axes.legend(loc="lower right")
    grid[0, 0].set(xlim=(20, 160), ylim=(0.66, 0.745))
    grid[-1, 0].set_xlabel("BitOPs, thousands")
    figure.supylabel("accuracy on the test set", color=INK, fontsize=9)
    save(figure, PICTURE)
    print(f"\n{os.path.relpath(PICTURE)} is drawn")


def tuned_ways(fronts: list[Front]) -> list[tuple[Front, Front, Front]]:
    """By way that tunes: the search before it, the tuned front, and that of trained trials in the same time."""
    found = []
    for number, one in enumerate(fronts):
        if one.name == EACH_TRAINED:
            search = next(own for own in reversed(fronts[:number]) if own.name.endswith(": search"))
            found.append((search, fronts[number - 1], one))
    return found


def draw_front(axes: Any, one: Front, label: str, **style: Any) -> None:
    """The networks of a front by test accuracy, and how long it took in the legend."""
    points = sorted(one.points, key=lambda point: point.bitops)
    x, y = [point.bitops / 1000 for point in points], [point.test for point in points]
    axes.plot(x, y, marker="o", markersize=3, linewidth=1.2, label=f"{label} ({one.seconds:.0f} s)", **style)
