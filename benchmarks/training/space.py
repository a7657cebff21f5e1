"""One training for a whole space, against the training of each of many random plans on its own.

    make bench-training PART=space

Own training: 12 epochs from the float network, the same loss, schedule and batches, one plan alone, with two seeds.
Their mean is the target, their rank correlation is how well own trainings agree among themselves. Accuracies are of
validation and test samples together, and of more samples where the data are generated; none of them is trained on.
Validation samples chose the float network, and choose the best epoch of a training for the space; the others choose
nothing. Each own training is kept in mase_output/bench_training and used again, so that a broken run goes on.
"""

from __future__ import annotations

import json
import random
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.stats import spearmanr
from torch import Tensor
from training.networks import BATCH, CASES, Case, Subject, subject_of

from chop.config.space_training import SpaceTrainingOptions
from chop.dataset import shapes, toy_tiny
from chop.dataset.rows import Batch
from chop.evaluation.predictions import stream
from chop.formats import Format
from chop.ir import MaseGraph, QuantPlan
from chop.tools.files import write_whole
from chop.training.for_space import SpaceTraining
from chop.training.gradients import formats_of
from chop.training.plan_network import PlanNetwork
from chop.training.ranges import Ranges
from chop.training.space_plans import PlanSpace, drawn_plan, widest_plan

PLANS = {"toy": 60, "jsc-mlp": 30, "shapes-cnn": 30, "jsc-s": 30}
"""Random plans that are trained on their own."""
DRAWN: Mapping[str, tuple[Callable[[int, int], tuple[Tensor, Tensor]], int]] = {
    "toy": (toy_tiny.drawn, 20_000),
    "shapes-cnn": (shapes.noisy_images, 6_000),
}
"""How more samples of generated data are drawn, and how many."""
DRAWN_SEED = 7
"""The seed of these further samples; the bundled ones were drawn with another."""
RUNS = 2
"""Trainings of each kind, each with another seed; the figures are their means."""
SEED = 7
DRAWS = 1_000
"""Draws of plans for the standard error of an order."""
OWN = SpaceTrainingOptions(max_epochs=12, learning_rate=3e-3, plans_per_step=1, widest_weight=0.0, probes=2)
KEPT = Path("mase_output/bench_training")


@dataclass(frozen=True)
class OnePlan:
    """A space of a single plan."""

    graph: MaseGraph
    calibration_rows: int | None
    only: QuantPlan

    @property
    def size(self) -> int:
        """The number of points."""
        return 1

    @property
    def choice_lengths_flattened(self) -> dict[str, int]:
        """No keys."""
        return {}

    def possible_formats(self) -> dict[tuple[str, str], list[Format]]:
        """Those of the plan."""
        return {(node, operand): [own] for node, formats in self.only.choices for operand, own in formats}

    def point(self, index: int) -> dict[str, int]:
        """The only point."""
        return {}

    def plan(self, point: Any) -> QuantPlan:
        """The only plan."""
        return self.only


def parts_of(case: Case) -> tuple[str, ...]:
    """The sets of samples that accuracies of a case are of."""
    drawn = [f"{DRAWN[case.model][1]} drawn from seed {DRAWN_SEED}"] if case.model in DRAWN else []
    return ("val", "test", *drawn)


def scored(subject: Subject) -> list[Batch]:
    """The samples that accuracies are of; validation samples come first."""
    found = [batch for part in ("val", "test") for batch in subject.data.batches(part)]
    if subject.case.model in DRAWN:
        draw, samples = DRAWN[subject.case.model]
        found += zip(*(torch.split(own, BATCH) for own in draw(samples, DRAWN_SEED)), strict=True)
    return found


@torch.no_grad()
def hits(space: PlanSpace, subject: Subject, plans: Sequence[QuantPlan]) -> Tensor:
    """Whether each plan classifies each sample rightly with the weights as they are, `(plans, samples)`."""
    network = PlanNetwork(space.graph, subject.data.output)
    ranges = Ranges(space.graph, network, subject.data, space.calibration_rows, "cpu")
    ranges.refresh_for_search()
    batches = [(network.inputs(x), y) for x, y in scored(subject)]
    found = []
    for plan in plans:
        formats = formats_of(space.graph.freeze(plan))
        if network.follows_plan(formats):
            network.measure_under_plan(ranges.norm_inputs, formats)
        found.append(torch.cat([network(inputs, formats).argmax(1) == y for inputs, y in batches]))
    return torch.stack(found)


@torch.no_grad()
def hits_in_float(subject: Subject) -> Tensor:
    """Whether the float network classifies each sample rightly."""
    return torch.cat([outputs.argmax(1) == y for outputs, y in stream(subject.model, scored(subject))])


def shares(found: Tensor) -> list[float]:
    """The accuracy of each plan."""
    return found.double().mean(1).tolist()


def own_scores(case: Case, plans: Sequence[QuantPlan], seed: int) -> list[float]:
    """What each plan reaches by its own training; kept plan by plan for the next run."""
    file = KEPT / f"own-{case.model}-{seed}.json"
    key = repr((case, OWN, parts_of(case), plans))
    known = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    found: list[float] = known["scores"] if known.get("key") == key else []
    for plan in plans[len(found) :]:
        subject = subject_of(case)
        space = OnePlan(subject.space.graph, subject.space.calibration_rows, plan)
        training = SpaceTraining(space, subject.data, OWN, seed)
        for epoch in range(OWN.max_epochs):
            training.train_epoch(epoch)
        found += shares(hits(space, subject, [plan]))
        KEPT.mkdir(parents=True, exist_ok=True)
        write_whole(file, json.dumps({"key": key, "scores": found}))
    return found


def trained(case: Case, options: SpaceTrainingOptions, seed: int) -> tuple[Subject, float]:
    """A network after one training for its space, and the CPU seconds of the training."""
    subject = subject_of(case)
    training = SpaceTraining(subject.space, subject.data, options, seed)
    started = time.process_time()
    best, weights = training.probe()
    for epoch in range(options.max_epochs):
        training.train_epoch(epoch)
        reached, found = training.probe()
        if reached.is_better(best):
            best, weights = reached, found
    seconds = time.process_time() - started
    training.load_weights(weights)
    return subject, seconds


def plans_of(subject: Subject, random_ones: int) -> list[QuantPlan]:
    """The widest plan of a network's space, and random ones."""
    rng = random.Random(SEED)
    return [widest_plan(subject.space), *(drawn_plan(subject.space, rng) for _ in range(random_ones))]


def row_of(case: Case, options: SpaceTrainingOptions) -> list[str]:
    """The figures of one network."""
    subject = subject_of(case)
    plans, in_float = plans_of(subject, PLANS[case.model]), hits_in_float(subject)
    before = torch.tensor(shares(hits(subject.space, subject, plans)))
    each = torch.tensor([own_scores(case, plans, seed) for seed in range(RUNS)])
    own = each.mean(0)
    runs, orders, lost, seconds = [], [], [], 0.0
    for seed in range(RUNS):
        done, spent = trained(case, options, seed)
        found = hits(done.space, done, plans)
        runs.append(torch.tensor(shares(found)))
        orders.append(order(runs[-1], own))
        lost.append(in_float.double() - found[0].double())
        seconds += spent / RUNS
        told = (float(runs[-1][1:].mean()), orders[-1], float(runs[-1][0]), spent)
        print(f"{case.model}, seed {seed}: mean, order, widest, CPU {told}", file=sys.stderr, flush=True)
    after, gap = torch.stack(runs).mean(0), torch.stack(lost).mean(0)
    return [
        case.model,
        str(len(plans) - 1),
        *(f"{float(v[1:].mean()):.4f}" for v in (before, after, own)),
        f"{order(before, own):.2f}",
        f"{' '.join(f'{v:.2f}' for v in orders)} ± {order_error(runs[0], own):.2f}",
        *(f"{v:.2f}" for v in orders_of_seeds(runs, list(each))),
        *(f"{float(v[0]):.4f}" for v in (before, after, own)),
        f"{float(in_float.double().mean()):.4f}",
        in_points(gap),
        in_points(gap[sum(len(y) for _, y in subject.data.batches("val")) :]),
        f"{seconds:.0f} s",
    ]


def in_points(differences: Tensor) -> str:
    """The mean of differences between samples, in points, with its standard error."""
    return f"{100 * float(differences.mean()):.2f} ± {100 * float(differences.std()) / len(differences) ** 0.5:.2f}"


def order(values: Tensor, others: Tensor) -> float:
    """The rank correlation of the accuracies of random plans."""
    return float(spearmanr(values[1:].tolist(), others[1:].tolist()).statistic)


def order_error(values: Tensor, others: Tensor) -> float:
    """The standard error of `order`: its standard deviation where the random plans are drawn again from themselves."""
    rng = np.random.default_rng(SEED)
    pairs = torch.stack([values, others])[:, 1:].numpy()
    drawn = (pairs[:, rng.integers(0, pairs.shape[1], pairs.shape[1])] for _ in range(DRAWS))
    return float(np.std([spearmanr(*own).statistic for own in drawn]))


def orders_of_seeds(runs: Sequence[Tensor], each: Sequence[Tensor]) -> tuple[float, float, float]:
    """The order of two trainings for the space, that of two own trainings, and the order that seeds allow.

    The last is what a training for the space would reach with the mean of both own trainings if seeds made the only
    difference: the square root of the product of both reliabilities (Spearman 1904).
    """
    of_space, of_own = order(*runs), order(*each)
    return of_space, of_own, (of_space * 2 * of_own / (1 + of_own)) ** 0.5


HEADINGS = (
    "network", "networks", "before", "for the space", "each alone", "order before", "order after",
    "order of the space again", "order of each alone again", "order that seeds allow", "widest before", "widest",
    "widest alone", "float", "float above widest, in points", "without validation samples", "CPU",
)  # fmt: skip


def main() -> None:
    """Print the table."""
    torch.set_num_threads(1)
    print(f"| {' | '.join(HEADINGS)} |\n|{'---|' * len(HEADINGS)}")
    for case in CASES:
        print(f"| {' | '.join(row_of(case, SpaceTrainingOptions()))} |", flush=True)
