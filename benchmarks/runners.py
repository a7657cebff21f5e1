"""What a slow runner costs the others: accuracy beside a stopwatch, against accuracy alone, in one run.

    make bench-runners

All figures are of jsc-toy and of the same configurations, exhaustive search by trials. `accuracy` must take as long
beside `simulation_time` as alone (aim: at most 1.1 times); a stopwatch that is no objective is asked about the front
alone. The times of the stopwatch itself are those that its own runner spends.
"""

from __future__ import annotations

import argparse
import io
import logging
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from chop.actions.search import SearchResult, search
from chop.actions.search.measuring.batched import BatchedMeasurement
from chop.actions.search.strategies.runners.simulation_time import SimulationTime
from chop.dataset import MaseDataModule
from chop.models import get_model

LISTS: dict[str, Any] = {"name": ["integer"], "data_in_width": [4, 8], "weight_width": [2, 4, 8], "bias_width": [4, 8]}


@dataclass
class Spent:
    """Seconds within calls, and how many there were."""

    seconds: float = 0.0
    calls: int = 0

    def timed(self, call: Callable[..., Any]) -> Callable[..., Any]:
        """The call, with its time added up."""

        def run(*args: Any) -> Any:
            started = time.process_time()
            try:
                return call(*args)
            finally:
                self.seconds += time.process_time() - started
                self.calls += 1

        return run


@dataclass
class Found:
    """A search: what it spent on accuracy and on the stopwatch, and on everything."""

    result: SearchResult
    whole: float
    together: Spent
    stopwatch: Spent

    @property
    def accuracy(self) -> float:
        """Seconds spent on accuracy and costs, without the stopwatch and the networks that are built for it."""
        return self.together.seconds


def table(trials: int, with_stopwatch: bool, as_objective: bool) -> dict[str, Any]:
    """The settings of a search."""
    metrics: dict[str, Any] = {"accuracy": {}, "average_bitwidth": {}}
    return {
        "search_space": {
            "name": "graph/quantize/mixed_precision_ptq",
            "setup": {"by": "type"},
            "seed": {"default": {"config": {"name": ["NA"]}}, "linear": {"config": LISTS}},
        },
        "strategy": {
            "name": "brute_force",
            "setup": {"n_trials": trials},
            "sw_runner": {"basic_evaluation": {"num_samples": 4096}},
            "hw_runner": {"average_bitwidth": {}, **({"simulation_time": {}} if with_stopwatch else {})},
            "metrics": metrics | ({"simulation_time": {}} if as_objective else {}),
        },
    }


@contextmanager
def watched(name: str, cls: type[Any], spent: Spent) -> Iterator[None]:
    """Add up the time of a method."""
    before = getattr(cls, name)
    setattr(cls, name, spent.timed(before))
    try:
        yield
    finally:
        setattr(cls, name, before)


def searched(data: MaseDataModule, trials: int, with_stopwatch: bool, as_objective: bool) -> Found:
    """Run a search and watch where its time goes."""
    together, stopwatch = Spent(), Spent()
    model = get_model("jsc-toy", pretrained=True)
    quiet = io.StringIO()
    with (
        tempfile.TemporaryDirectory() as folder,
        redirect_stdout(quiet),
        redirect_stderr(quiet),
        watched("scores", BatchedMeasurement, together),
        watched("measure", SimulationTime, stopwatch),
    ):
        started = time.process_time()
        result = search(model, data, table(trials, with_stopwatch, as_objective), Path(folder))
        return Found(result, time.process_time() - started, together, stopwatch)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=1728, help="configurations")
    parser.add_argument("--repeats", type=int, default=3, help="searches of each kind, in turns; the least time counts")
    parser.add_argument("--with-stopwatch", type=int, default=256, help="configurations where each is timed")
    given = parser.parse_args()
    torch.set_num_threads(1)
    logging.disable(logging.WARNING)
    data = MaseDataModule("jsc", batch_size=512)
    data.prepare_data()
    data.setup()
    shown = Table(title="jsc-toy, 4,096 samples", title_justify="left", box=None, pad_edge=False, header_style="bold")
    for name in ("", "trials", "accuracy, ms a trial", "against alone", "networks timed", "whole search, ms a trial"):
        shown.add_column(name, justify="right" if name else "left")
    searched(data, given.with_stopwatch, False, False)  # what is loaded and prepared once
    kinds = {
        "accuracy alone": (False, False),
        "beside a stopwatch for the front": (True, False),
        "beside a stopwatch as an objective": (True, True),
    }
    for trials in (given.with_stopwatch, given.trials):
        names = [
            name for name, (_, as_objective) in kinds.items() if trials <= given.with_stopwatch or not as_objective
        ]
        rounds = [{name: searched(data, trials, *kinds[name]) for name in names} for _ in range(given.repeats)]
        least = {name: min((one[name] for one in rounds), key=lambda found: found.accuracy) for name in names}
        for name, found in least.items():
            shown.add_row(
                name,
                f"{trials:,}",
                f"{1000 * found.accuracy / trials:.3f}",
                f"{found.accuracy / least['accuracy alone'].accuracy:.2f} x",
                f"{found.stopwatch.calls:,} (front: {len(found.result.best)})",
                f"{1000 * found.whole / trials:.2f}",
            )
    Console(width=150).print(shown)


if __name__ == "__main__":
    main()
