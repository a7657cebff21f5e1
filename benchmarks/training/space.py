"""One training for a whole space, against the training of each of many random plans on its own.

    make bench-training PART=space

Own training: 12 epochs from the float network, the same loss, schedule and batches, one plan alone, with two seeds.
Their mean is the target, their rank correlation is how well own trainings agree among themselves. Accuracies are of
validation and test samples together, none of which is trained on: validation samples chose the float network, and
choose the best epoch of a training for the space; test samples choose nothing. Each own training is kept in
mase_output/bench_training and used again, so that a run that was broken off goes on.
"""

from __future__ import annotations

import json
import random
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from scipy.stats import spearmanr
from torch import Tensor
from training.networks import CASES, Case, Subject, subject_of

from chop.config.space_training import SpaceTrainingOptions
from chop.dataset.data import Data
from chop.evaluation.predictions import stream
from chop.formats import Format
from chop.ir import MaseGraph, QuantPlan
from chop.tools.files import write_whole
from chop.training.for_space import SpaceTraining
from chop.training.gradients import formats_of
from chop.training.plan_network import PlanNetwork
from chop.training.ranges import Ranges
from chop.training.space_plans import PlanSpace, drawn_plan, widest_plan

PLANS = {"toy": 30, "jsc-mlp": 30, "shapes-cnn": 16, "jsc-s": 30}
"""Random plans that are trained on their own."""
RUNS = 2
"""Trainings of each kind, each with another seed; the figures are their means."""
SEED = 7
PARTS = ("val", "test")
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


@torch.no_grad()
def hits(space: PlanSpace, data: Data, plans: Sequence[QuantPlan]) -> Tensor:
    """Whether each plan classifies each sample rightly with the weights as they are, `(plans, samples)`."""
    network = PlanNetwork(space.graph, data.output)
    ranges = Ranges(space.graph, network, data, space.calibration_rows, "cpu")
    ranges.refresh()
    batches = [(network.inputs(x), y) for part in PARTS for x, y in data.batches(part)]
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
    pairs = (pair for part in PARTS for pair in stream(subject.model, subject.data.batches(part)))
    return torch.cat([outputs.argmax(1) == y for outputs, y in pairs])


def shares(found: Tensor) -> list[float]:
    """The accuracy of each plan."""
    return found.double().mean(1).tolist()


def own_scores(case: Case, plans: Sequence[QuantPlan], seed: int) -> list[float]:
    """What each plan reaches by its own training; kept plan by plan for the next run."""
    file = KEPT / f"own-{case.model}-{seed}.json"
    key = repr((case, OWN, PARTS, plans))
    known = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    found: list[float] = known["scores"] if known.get("key") == key else []
    for plan in plans[len(found) :]:
        subject = subject_of(case)
        space = OnePlan(subject.space.graph, subject.space.calibration_rows, plan)
        training = SpaceTraining(space, subject.data, OWN, seed)
        for epoch in range(OWN.max_epochs):
            training.train_epoch(epoch)
        found += shares(hits(space, subject.data, [plan]))
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
    before = torch.tensor(shares(hits(subject.space, subject.data, plans)))
    each = torch.tensor([own_scores(case, plans, seed) for seed in range(RUNS)])
    own = each.mean(0)
    runs, orders, lost, seconds = [], [], [], 0.0
    for seed in range(RUNS):
        done, spent = trained(case, options, seed)
        found = hits(done.space, done.data, plans)
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
        " ".join(f"{v:.2f}" for v in orders),
        f"{order(each[0], each[1]):.2f}",
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


HEADINGS = (
    "network", "networks", "before", "for the space", "each alone", "order before", "order after",
    "order of each alone again", "widest before", "widest", "widest alone", "float", "float above widest, in points",
    "on test samples alone", "CPU",
)  # fmt: skip


def main() -> None:
    """Print the table."""
    torch.set_num_threads(1)
    print(f"| {' | '.join(HEADINGS)} |\n|{'---|' * len(HEADINGS)}")
    for case in CASES:
        print(f"| {' | '.join(row_of(case, SpaceTrainingOptions()))} |", flush=True)
