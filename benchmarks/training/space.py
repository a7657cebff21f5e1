"""One training for a whole space, against the training of each of many random plans on its own.

    make bench-training PART=space

Own training: 12 epochs from the float network, the same loss, schedule and batches, one plan alone. Accuracies are of
all validation samples; those of own trainings are kept in mase_output/bench_training and used again.
"""

from __future__ import annotations

import json
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from scipy.stats import spearmanr
from training.networks import CASES, Case, Subject, subject_of

from chop.config.space_training import SpaceTrainingOptions
from chop.dataset.data import Data
from chop.evaluation.predictions import accumulated, stream
from chop.ir import MaseGraph, QuantPlan
from chop.training.for_space import SpaceTraining
from chop.training.plan_network import PlanNetwork
from chop.training.probes import Probes
from chop.training.ranges import Ranges
from chop.training.space_plans import PlanSpace, drawn_plan, widest_plan

PLANS = {"toy": 30, "jsc-mlp": 30, "shapes-cnn": 16, "jsc-s": 14}
"""Random plans that are trained on their own: so many that all takes less than eight CPU minutes."""
SEED = 7
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

    def point(self, index: int) -> dict[str, int]:
        """The only point."""
        return {}

    def plan(self, point: Any) -> QuantPlan:
        """The only plan."""
        return self.only


def scores(space: PlanSpace, data: Data, plans: Sequence[QuantPlan]) -> list[float]:
    """The accuracy of each plan with the weights as they are."""
    network = PlanNetwork(space.graph, data.output)
    ranges = Ranges(space.graph, network, data, space.calibration_rows, "cpu")
    return list(Probes(network, plans, data, None, "cpu").score(ranges).values)


def own_scores(case: Case, plans: Sequence[QuantPlan]) -> list[float]:
    """What each plan reaches by its own training; kept for the next run."""
    file = KEPT / f"own-{case.model}.json"
    key = repr((case, OWN, plans))
    if file.is_file() and (known := json.loads(file.read_text(encoding="utf-8")))["key"] == key:
        return list(known["scores"])
    found = []
    for plan in plans:
        subject = subject_of(case)
        space = OnePlan(subject.space.graph, subject.space.calibration_rows, plan)
        training = SpaceTraining(space, subject.data, OWN)
        for epoch in range(OWN.max_epochs):
            training.train_epoch(epoch)
        found += scores(space, subject.data, [plan])
    KEPT.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps({"key": key, "scores": found}), encoding="utf-8")
    return found


def in_float(subject: Subject) -> float:
    """The accuracy of the float network."""
    data = subject.data
    return accumulated(data.task.accumulator(), stream(subject.model, data.batches("val"))).result()["accuracy"]


def row_of(case: Case, options: SpaceTrainingOptions) -> list[str]:
    """The figures of one network."""
    subject = subject_of(case)
    space, data = subject.space, subject.data
    rng = random.Random(SEED)
    plans = [drawn_plan(space, rng) for _ in range(PLANS[case.model])]
    before, own = scores(space, data, plans), own_scores(case, plans)
    subject = subject_of(case)
    training = SpaceTraining(subject.space, data, options)
    started = time.process_time()
    best, weights = training.probe()
    for epoch in range(options.max_epochs):
        training.train_epoch(epoch)
        reached, averaged = training.probe()
        if reached.is_better(best):
            best, weights = reached, averaged
    seconds = time.process_time() - started
    training.load_weights(weights)
    after = scores(subject.space, data, plans)
    (widest,) = scores(subject.space, data, [widest_plan(subject.space)])
    means = [sum(values) / len(plans) for values in (before, after, own)]
    orders = [float(spearmanr(values, own).statistic) for values in (before, after)]
    ends = [widest, in_float(subject)]
    return [
        case.model,
        str(len(plans)),
        *(f"{v:.4f}" for v in means),
        *(f"{v:.2f}" for v in orders),
        *(f"{v:.4f}" for v in ends),
        f"{seconds:.0f} s",
    ]


def main() -> None:
    """Print the table."""
    torch.set_num_threads(1)
    headings = (
        "network | plans | before | for the space | each alone | order before | order after | widest | float | CPU"
    )
    print(f"| {headings} |\n|{'---|' * (headings.count('|') + 1)}")
    for case in CASES:
        print(f"| {' | '.join(row_of(case, SpaceTrainingOptions()))} |", flush=True)
