"""One training for a whole space, against the training of each of many random plans on its own.

    make bench-training PART=space

Own training: 12 epochs from the float network, the same loss, schedule and batches, one plan alone. Accuracies are of
all validation samples. Each own training is kept in mase_output/bench_training and used again, so that a run that was
broken off goes on.
"""

from __future__ import annotations

import json
import random
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any

import torch
from scipy.stats import spearmanr
from training.networks import CASES, Case, Subject, subject_of

from chop.config.space_training import SpaceTrainingOptions
from chop.dataset.data import Data
from chop.evaluation.predictions import accumulated, stream
from chop.formats import Format
from chop.ir import MaseGraph, QuantPlan
from chop.tools.files import write_whole
from chop.training.for_space import SpaceTraining
from chop.training.plan_network import PlanNetwork
from chop.training.probes import Probes
from chop.training.ranges import Ranges
from chop.training.space_plans import PlanSpace, drawn_plan, widest_plan

PLANS = {"toy": 30, "jsc-mlp": 30, "shapes-cnn": 16, "jsc-s": 14}
"""Random plans that are trained on their own: so many that all takes less than eight CPU minutes."""
AGAIN = ("toy",)
"""Networks whose own trainings are repeated with another seed: how far these agree among themselves."""
RUNS = {"toy": 3, "jsc-mlp": 2, "shapes-cnn": 1, "jsc-s": 1}
"""Trainings for the space, each with another seed; the figures are their means."""
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

    def possible_formats(self) -> dict[tuple[str, str], list[Format]]:
        """None that a parameter could have an offset for."""
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


def own_scores(case: Case, plans: Sequence[QuantPlan], seed: int = 0) -> list[float]:
    """What each plan reaches by its own training; kept plan by plan for the next run."""
    file = KEPT / f"own-{case.model}-{seed}.json"
    key = repr((case, OWN, plans))
    known = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    found: list[float] = known["scores"] if known.get("key") == key else []
    for plan in plans[len(found) :]:
        subject = subject_of(case)
        space = OnePlan(subject.space.graph, subject.space.calibration_rows, plan)
        training = SpaceTraining(space, subject.data, OWN, seed)
        for epoch in range(OWN.max_epochs):
            training.train_epoch(epoch)
        found += scores(space, subject.data, [plan])
        KEPT.mkdir(parents=True, exist_ok=True)
        write_whole(file, json.dumps({"key": key, "scores": found}))
    return found


def in_float(subject: Subject) -> float:
    """The accuracy of the float network."""
    data = subject.data
    return accumulated(data.task.accumulator(), stream(subject.model, data.batches("val"))).result()["accuracy"]


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


def row_of(case: Case, options: SpaceTrainingOptions) -> list[str]:
    """The figures of one network."""
    subject = subject_of(case)
    rng = random.Random(SEED)
    plans = [widest_plan(subject.space), *(drawn_plan(subject.space, rng) for _ in range(PLANS[case.model]))]
    widest_before, *before = scores(subject.space, subject.data, plans)
    widest_own, *own = own_scores(case, plans)
    again = f"{order(own_scores(case, plans, seed=1)[1:], own):.2f}" if case.model in AGAIN else "–"
    runs = []
    for run in range(RUNS[case.model]):
        done, seconds = trained(case, options, seed=run)
        widest, *after = scores(done.space, done.data, plans)
        runs.append((mean(after), order(after, own), widest, seconds))
        print(f"{case.model}, seed {run}: mean, order, widest, CPU {runs[-1]}", file=sys.stderr, flush=True)
    after_mean, after_order, widest, seconds = (mean(values) for values in zip(*runs, strict=True))
    return [
        case.model,
        str(len(own)),
        *(f"{v:.4f}" for v in (mean(before), after_mean, mean(own))),
        *(f"{v:.2f}" for v in (order(before, own), after_order)),
        again,
        *(f"{v:.4f}" for v in (widest_before, widest, widest_own, in_float(subject))),
        f"{seconds:.0f} s",
    ]


def order(values: Sequence[float], own: Sequence[float]) -> float:
    """The rank correlation."""
    return float(spearmanr(values, own).statistic)


HEADINGS = (
    "network", "plans", "before", "for the space", "each alone", "order before", "order after",
    "order of each alone again", "widest before", "widest", "widest alone", "float", "CPU",
)  # fmt: skip


def main() -> None:
    """Print the table."""
    torch.set_num_threads(1)
    print(f"| {' | '.join(HEADINGS)} |\n|{'---|' * len(HEADINGS)}")
    for case in CASES:
        print(f"| {' | '.join(row_of(case, SpaceTrainingOptions()))} |", flush=True)
