"""The problems from chop's bundled networks, chop's own answers, and the exact front that judges all."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from instead.answer import Answer, Stopwatch
from instead.problem import PAIRS, WIDTHS, Choice, Part, Problem, accuracy, problem_of

import chop
from chop.actions.oracle import Oracle
from chop.actions.search.strategies.product.surrogate import Surrogate
from chop.actions.search.strategies.runners import AnalyticRunner, Metric
from chop.dataset import MaseDataModule
from chop.ir.graph.node_costs import NodeCost
from chop.models import get_model
from chop.record.landscape import Landscape
from chop.record.names import LANDSCAPE_FILE

DATA = {"jsc-mlp": "jsc", "shapes-cnn": "shapes"}
COST = "bitops_of_widths"
OBJECTIVES = ("accuracy_micro", COST)
CALIBRATION, VALIDATION = 512, 1000

LAYER = {
    "name": ["scale_integer"],
    "data_in_width": [*WIDTHS],
    "data_in_symmetric": [False],
    "weight_width": [*WIDTHS],
    "weight_granularity": ["channel"],
}
"""Scales by channel for weights, an affine one for inputs; biases have no width and stay in float."""


class BitopsOfWidths(AnalyticRunner):
    """BitOPs by the widths alone, as everyone counts them; chop's `bitops` adds the bits of scales to each value."""

    @classmethod
    def metrics_of(cls, data_module: Any) -> tuple[Metric, ...]:
        """One metric."""
        return (Metric(COST, "BitOP", "minimize"),)

    def terms(self, cost: NodeCost, formats: Mapping[str, Any]) -> tuple[float, ...]:
        """MACs times both widths; 32 bits where a factor is in float."""
        width = {name: getattr(formats.get(name), "width", 32) for name in ("data_in", "weight")}
        return (cost.macs * width["data_in"] * width["weight"],)

    def combine(self, sums: tuple[float, ...]) -> dict[str, float]:
        """The sum over the layers."""
        return {COST: float(sums[0])}


class Timed(Surrogate):
    """chop's default strategy, with the CPU seconds at which each of its trials was known."""

    watch = Stopwatch()

    def tell(self, points: Any, values: Any) -> None:
        """Pass the results on and note the time."""
        super().tell(points, values)
        for _ in points:
            self.watch.lap()


def bundled_problem(name: str) -> Problem:
    """The problem of a bundled network; the first samples of its training and validation sets, all of its test set."""
    data = MaseDataModule(DATA[name], batch_size=512)
    data.prepare_data()
    data.setup()
    model = get_model(name, dataset_info=data.dataset_info, pretrained=True)
    wanted = (("calibration", "train", CALIBRATION), ("validation", "val", VALIDATION), ("test", "test", None))
    parts = {own: part_of(data, part, count) for own, part, count in wanted}
    return problem_of(name, list(model.state_dict().values()), **parts)


def part_of(data: MaseDataModule, part: str, count: int | None) -> Part:
    """Some samples of a data set, as one batch."""
    batches = data.batches(part, count)
    return Part(torch.cat([x for x, _ in batches]), torch.cat([y for _, y in batches]))


def searched(problem: Problem, **options: Any) -> chop.Study:
    """The study of a search by chop over the widths of a problem."""
    seed = {op: {"config": LAYER} for op in ("conv2d", "linear")}
    table = {"name": "graph/quantize/mixed_precision_ptq", "setup": {"by": "type"}, "seed": seed}
    parts = {"train": problem.calibration, "val": problem.validation, "test": problem.test}
    return chop.search(
        problem.model(),
        {name: (part.x, part.y) for name, part in parts.items()},
        chop.Space.from_table(table),
        objectives=OBJECTIVES,
        runners=[BitopsOfWidths],
        num_samples=len(problem.validation.y),
        **options,
    )


def choice_of(network: chop.Network) -> Choice:
    """The widths of a network of a study."""
    layers = [node["config"] for node in network.config.values() if isinstance(node, dict)]
    return tuple((own["data_in_width"], own["weight_width"]) for own in layers if "weight_width" in own)


def answered(
    problem: Problem, setting: str, seed: int, watch: Stopwatch, networks: Sequence[chop.Network], measured: int
) -> Answer:
    """The answer with some networks of a study."""
    by_choice = {choice_of(own): own for own in networks}
    found = [(choice, float(own.metrics["accuracy_micro"])) for choice, own in by_choice.items()]
    tested = lambda choice: accuracy(by_choice[choice].model, problem.test)  # noqa: E731
    return Answer.of(problem, "chop", setting, seed, watch, found, tested, measured, "chop-search")


def exhaustive(problem: Problem, table: Path) -> Answer:
    """chop's answer from all networks; the exhaustive table is written to `table`."""
    watch = Stopwatch()
    with tempfile.TemporaryDirectory() as place:
        options = {"strategy_options": {"landscape": True}, "folder": place, "progress": False}
        study = searched(problem, strategy="brute_force", **options)
        watch.lap()
        table.write_bytes((study.folder / LANDSCAPE_FILE).read_bytes())
        networks = study.front_networks
        watch.laps *= len(networks)
        return answered(problem, "exhaustive", 0, watch, networks, len(PAIRS) ** len(problem.macs))


def surrogate(problem: Problem, seed: int, trials: int) -> Answer:
    """chop's answer by its default strategy."""
    Timed.watch = watch = Stopwatch()
    study = searched(problem, strategy=Timed, n_trials=trials, seed=seed, progress=False)
    return answered(problem, "surrogate", seed, watch, list(study), trials)


class Judge:
    """Judges networks by the exhaustive table: accuracies in chop's arithmetic on validation samples, and BitOPs."""

    def __init__(self, table: Path) -> None:
        self.oracle = Oracle(Landscape.read(table))

    def index(self, choice: Choice) -> int:
        """The number of a network in the table: its last layer changes fastest."""
        index = 0
        for pair in choice:
            index = index * len(PAIRS) + PAIRS.index(pair)
        return index

    def share(self, choices: Sequence[Choice]) -> float:
        """The share of the hypervolume of the exact front that some networks reach."""
        return self.oracle.hypervolume([self.index(choice) for choice in choices])

    def needed(self, choices: Sequence[Choice], target: float) -> int | None:
        """How many networks, in their order, reach a share; None: all of them do not."""
        if self.share(choices) < target:
            return None
        least, most = 1, len(choices)
        while least < most:  # the share grows with each network
            middle = (least + most) // 2
            least, most = (least, middle) if self.share(choices[:middle]) >= target else (middle + 1, most)
        return least

    def values(self, choices: Sequence[Choice]) -> tuple[list[float], list[float]]:
        """BitOPs and accuracies of the best of some networks, fewest BitOPs first."""
        metrics = self.oracle.landscape.metrics
        places = sorted(map(self.index, choices), key=lambda at: (metrics[COST][at], -metrics["accuracy_micro"][at]))
        kept: list[int] = []
        for at in places:
            if not kept or metrics["accuracy_micro"][at] > metrics["accuracy_micro"][kept[-1]]:
                kept.append(at)
        bitops, reached = ([float(metrics[name][at]) for at in kept] for name in (COST, "accuracy_micro"))
        return bitops, reached
