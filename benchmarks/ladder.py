"""What a ladder of sample sizes saves on spaces that were measured whole, and whether it ever gives up a winner.

    make bench-ladder

Each strategy runs with and without the ladder, with the same seeds. Every candidate that was given up is looked up in
the whole space: is it on the exact front (a false drop), or at least not dominated by any network that the same search
measured on all rows (a wrong decision)?
"""

from __future__ import annotations

import argparse
import logging
import statistics
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.progress import track
from rich.table import Table

from chop.actions.search.measuring.early_stopping import EarlyStopping
from chop.actions.search.measuring.instruments import Instruments
from chop.actions.search.measuring.runner_set import RunnerSet
from chop.actions.search.measuring.scheduler import Scheduler
from chop.actions.search.measuring.subject import Subject
from chop.actions.search.run.loop import SearchLoop
from chop.actions.search.search_space.base import SpaceSetup
from chop.actions.search.search_space.mixed_precision_ptq import MixedPrecisionPTQ
from chop.actions.search.settings.strategy_setup import StrategySetup
from chop.actions.search.settings.tables import RunnerChoice
from chop.actions.search.strategies.base import STRATEGIES, StrategyContext
from chop.actions.search.strategies.runners.base import RUNNERS
from chop.dataset import MaseDataModule
from chop.executors import Jobs
from chop.ir import MaseGraph
from chop.models import get_model
from chop.record.front import Front
from chop.record.goals import Goals
from chop.record.trial import Objective, Trial
from chop.record.trials import TrialLog

LISTS: dict[str, Any] = {
    "name": ["integer"],
    "data_in_width": [4, 8],
    "weight_width": [2, 4, 8],
    "bias_width": [2, 4, 8],
}
GOALS = Goals((Objective("accuracy"), Objective("average_bitwidth", direction="minimize")))
ROWS = 4096
STRATEGY_KEYS: dict[str, tuple[str, dict[str, Any]]] = {
    "brute force, by index": ("brute_force", {"order": "index"}),
    "brute force, random order": ("brute_force", {"order": "random"}),
    "random": ("optuna", {"sampler": "random"}),
    "TPE": ("optuna", {"sampler": "tpe"}),
}


@dataclass(frozen=True)
class Truth:
    """A space that was measured whole: costs `(points, 2)` by number, its exact front, and the range of costs."""

    instruments: Instruments
    costs: np.ndarray[Any, Any]
    front: Front

    @classmethod
    def of(cls, model: str, data: MaseDataModule) -> Truth:
        """Measure every point of a model's space on all rows."""
        graph = MaseGraph(get_model(model, pretrained=True))
        space = MixedPrecisionPTQ.build(graph, {"linear": {"config": LISTS}}, SpaceSetup(by="type"), {})
        options = RUNNERS["basic_evaluation"].Options(num_samples=ROWS)
        runners = (
            RunnerChoice("sw_runner", "basic_evaluation", options),
            RunnerChoice("hw_runner", "average_bitwidth", RUNNERS["average_bitwidth"].Options()),
        )
        instruments = Instruments(Subject(space, graph, data), RunnerSet(runners, data))
        batched = instruments.batched
        assert batched is not None
        costs = GOALS.costs(batched.scores(instruments.codes([space.point(index) for index in range(space.size)])))
        return cls(instruments, costs, Front.of(costs, np.arange(space.size)))

    def hypervolume(self, points: Sequence[int]) -> float:
        """The hypervolume of some points as a share of the exact front's."""
        bounds = self.costs.min(0), self.costs.max(0)
        own = Front.of(self.costs[list(points)], np.array(points))
        return own.hypervolume(*bounds) / self.front.hypervolume(*bounds)


@dataclass(frozen=True)
class Found:
    """One search: how many candidates it measured and gave up, the share of rows saved, and what it found."""

    candidates: int
    stopped: int
    saved: float
    hypervolume: float
    false_drops: int
    wrong: int


def searched(truth: Truth, name: str, seed: int, trials: int, rungs: Sequence[int]) -> Found:
    """Run a strategy, on a ladder if there are `rungs`."""
    instruments = truth.instruments
    space = instruments.subject.space
    ladder = EarlyStopping(instruments.single, GOALS, rungs, StrategySetup().ladder_confidence) if rungs else None
    kind, keys = STRATEGY_KEYS[name]
    context = StrategyContext(space, GOALS.directions, seed, trials)
    strategy = STRATEGIES[kind](context, STRATEGIES[kind].Options(**keys))
    with (
        tempfile.TemporaryDirectory() as folder,
        TrialLog.create(Path(folder) / "trials.jsonl", {}) as log,
        Scheduler(instruments, Jobs(), ladder, log.trials.__getitem__) as measuring,
    ):
        batch = measuring.batch if strategy.asks_ahead else strategy.batch
        SearchLoop(space, strategy, GOALS, StrategySetup(trials), measuring.measure, log, batch).run()
        return judged(truth, [trial for trial in log.trials if trial.repeats is None])


def judged(truth: Truth, trials: Sequence[Trial]) -> Found:
    """Compare what a search gave up with the truth."""
    space = truth.instruments.subject.space

    def point(of: Mapping[str, int]) -> int:
        index = space.index(of)
        assert index is not None
        return index

    kept = [point(trial.point) for trial in trials if trial.counts]
    stopped = {point(trial.point): trial.stopped_at for trial in trials if trial.stopped_at}
    best = {tuple(row) for row in truth.front.costs.tolist()}
    own = truth.costs[kept]
    lost = [truth.costs[index] for index in stopped]
    return Found(
        candidates=len(trials),
        stopped=len(stopped),
        saved=sum(ROWS - rows for rows in stopped.values()) / (ROWS * len(trials)),
        hypervolume=truth.hypervolume(kept),
        false_drops=sum(tuple(row.tolist()) in best for row in lost),
        wrong=sum(not ((own <= row).all(1) & (own < row).any(1)).any() for row in lost),
    )


def row_of(name: str, plain: Sequence[Found], climbed: Sequence[Found]) -> list[str]:
    """A line of the table: medians over seeds, sums of what must not be."""

    def median(values: Sequence[float]) -> float:
        return statistics.median(values)

    return [
        name,
        f"{median([found.candidates for found in climbed]):,.0f}",
        f"{median([found.stopped for found in climbed]):,.0f}",
        f"{median([found.saved for found in climbed]):.0%}",
        f"{median([found.hypervolume for found in plain]):.2%}",
        f"{median([found.hypervolume for found in climbed]):.2%}",
        f"{sum(found.false_drops for found in climbed)} of {sum(found.stopped for found in climbed):,}",
        str(sum(found.wrong for found in climbed)),
    ]


def main() -> None:
    """Compare searches with and without early stopping, strategy by strategy."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--trials", type=int, default=500, help="of random and TPE")
    parser.add_argument("--rungs", type=int, nargs="+", default=[256, 1024])
    given = parser.parse_args()
    torch.set_num_threads(1)
    logging.disable(logging.WARNING)
    data = MaseDataModule("jsc", batch_size=512)
    data.prepare_data()
    data.setup()
    console = Console(width=150)
    for model in ("jsc-tiny", "jsc-toy"):
        truth = Truth.of(model, data)
        title = f"{model}, {len(truth.costs):,} points, {ROWS:,} rows, ladder {given.rungs}, {given.seeds} seeds"
        table = Table(title=title, title_justify="left", box=None)
        for column in (
            "",
            "candidates",
            "given up",
            "rows saved",
            "front without",
            "front with",
            "false drops",
            "wrong",
        ):
            table.add_column(column, justify="left" if not column else "right")
        for name in STRATEGY_KEYS:
            trials = len(truth.costs) if "brute" in name else given.trials
            seeds = range(1 if "index" in name else given.seeds)
            plain = [searched(truth, name, seed, trials, []) for seed in seeds]
            climbed = [searched(truth, name, seed, trials, given.rungs) for seed in track(seeds, f"{model}: {name}")]
            table.add_row(*row_of(name, plain, climbed))
        console.print(table)


if __name__ == "__main__":
    main()
