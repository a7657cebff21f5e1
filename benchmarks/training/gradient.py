"""The strategy gradient on points of a space, at equal CPU time with others, judged by the exact front."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from chop.actions.compare.contenders import contender
from chop.actions.oracle import Oracle
from chop.actions.search.checks import checked_call
from chop.actions.search.measuring.instruments import Instruments
from chop.actions.search.run.declared_training import engine_of
from chop.actions.search.run.job import SearchJob
from chop.actions.search.run.kept_training import TrainingRun
from chop.actions.search.run.loop import told_values
from chop.dataset import MaseDataModule
from chop.models import get_model
from chop.record.goals import Goals
from chop.record.landscape import Landscape
from chop.record.trial import Trial
from chop.tools.threads import one_thread

SPACES = {"jsc-toy": [2, 3, 4, 6, 8]}
STRATEGIES = ("gradient", "surrogate", "evolution", "tpe", "nsgaii", "random")
SECONDS = (2.0, 4.0, 8.0)
EVALUATIONS = (10, 25)
SEEDS = (0, 1, 2)


def main() -> None:
    """Print one table for each space."""
    with one_thread():
        for model, widths in SPACES.items():
            _judge(model, widths)


def _judge(model: str, widths: list[int]) -> None:
    with TemporaryDirectory() as folder:
        job = _job(model, widths, Path(folder))
        instruments = job.instruments()
        goals = job.goals(instruments)
        oracle, exhaustive = _exact(job, instruments, goals)
        each = _seconds_each(job, instruments)
        print(
            f"{model}, {job.space.size:,} points; all of them in batches: {exhaustive:.1f} s; one point alone: "
            f"{each * 1000:.0f} ms. Share of the exact hypervolume (median of {len(SEEDS)} seeds) after so many "
            "evaluations, and after so much CPU time (evaluations in brackets):\n"
        )
        heads = [*(f"{count} evaluations" for count in EVALUATIONS), *(f"{limit:g} s" for limit in SECONDS)]
        print(f"| strategy | {' | '.join(heads)} |\n{'|---' * (1 + len(heads))}|")
        for name in STRATEGIES:
            runs = [_shares(job, instruments, goals, oracle, each, name, seed) for seed in SEEDS]
            middle = np.median(np.array(runs), axis=0)
            cells = [f"{share:.1%}" for share, _ in middle[: len(EVALUATIONS)].tolist()]
            cells += [f"{share:.1%} ({count:.0f})" for share, count in middle[len(EVALUATIONS) :].tolist()]
            print(f"| {name} | {' | '.join(cells)} |", flush=True)
        print()


def _job(model: str, widths: list[int], folder: Path) -> SearchJob:
    data = MaseDataModule("jsc", batch_size=1024)
    data.prepare_data()
    data.setup()
    lists: dict[str, Any] = {"name": ["integer"]}
    for operand in ("data_in", "weight", "bias"):
        lists |= {f"{operand}_width": widths, f"{operand}_frac_width": ["auto"]}
    setup = {"by": "type", "tie_operands": ["weight", "bias"]}
    table = {
        "search_space": {
            "name": "graph/quantize/mixed_precision_ptq",
            "setup": setup,
            "seed": {"linear": {"config": lists}},
        },
        "strategy": {
            "name": "gradient",
            "sw_runner": {"basic_evaluation": {"data_loader": "val_dataloader", "num_samples": 4096}},
            "hw_runner": {"bitops": {}},
            "metrics": {"accuracy": {"direction": "maximize"}, "bitops": {"direction": "minimize"}},
        },
    }
    return checked_call(SearchJob, get_model(model, pretrained=True), data, table, folder, 0, "cpu")


def _exact(job: SearchJob, instruments: Instruments, goals: Goals) -> tuple[Oracle, float]:
    """All points, measured in batches, and the CPU seconds that it took."""
    batched, size = instruments.batched, job.space.size
    assert batched is not None
    started, step = time.process_time(), batched.most_together
    parts = [batched.scores_of_range(first, min(first + step, size)) for first in range(0, size, step)]
    metrics = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    return Oracle(Landscape(Path("all points"), {}, metrics), goals), time.process_time() - started


def _seconds_each(job: SearchJob, instruments: Instruments) -> float:
    """CPU seconds of one point that is measured alone, as strategies that learn from each trial need it."""
    numbers = np.random.default_rng(0).integers(0, job.space.size, 20).tolist()
    started = time.process_time()
    for number in numbers:
        instruments.single.measure(job.space.point(number))
    return (time.process_time() - started) / len(numbers)


def _shares(
    job: SearchJob, instruments: Instruments, goals: Goals, oracle: Oracle, each: float, name: str, seed: int
) -> list[tuple[float, int]]:
    """For `EVALUATIONS`, then `SECONDS`, the share of the exact hypervolume by then, and the number of evaluations."""
    seen: dict[int, float] = {}
    for number, seconds in _run(job, instruments, goals, oracle, name, seed):
        if number not in seen:
            seen[number] = seconds + each * (len(seen) + 1)
        if seconds + each * len(seen) > SECONDS[-1]:
            break
    found = [(oracle.gap(list(seen)[:count]).hypervolume, min(count, len(seen))) for count in EVALUATIONS]
    for limit in SECONDS:
        rows = [number for number, spent in seen.items() if spent <= limit]
        found.append((oracle.gap(rows).hypervolume if rows else 0.0, len(rows)))
    return found


def _run(
    job: SearchJob, instruments: Instruments, goals: Goals, oracle: Oracle, name: str, seed: int
) -> Iterator[tuple[int, float]]:
    """The points that a strategy proposes, and the CPU seconds that it has taken itself: probes and training too."""
    chosen = contender(name, job.settings)
    training = chosen.strategy.training(chosen.options)
    trainer = None if training is None else TrainingRun(training, engine_of(training, job.space, job.data_module, seed))
    context = replace(job.context(instruments, goals, seed, None), trainer=trainer)
    started = time.process_time()
    strategy, spent = chosen.strategy(context, chosen.options), 0.0
    spent += time.process_time() - started
    while True:
        started = time.process_time()
        points = strategy.ask(strategy.batch)
        spent += time.process_time() - started
        if not points:
            return
        for point in points:
            number = job.space.index(point)
            assert number is not None
            metrics = {metric: float(values[number]) for metric, values in oracle.landscape.metrics.items()}
            values = told_values(Trial(0, point, metrics, {}, {}), goals, strategy.constraints)
            started = time.process_time()
            strategy.tell([point], [values])
            spent += time.process_time() - started
            yield number, spent
