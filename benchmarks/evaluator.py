"""Configurations per second of the evaluator, as multiples of a careful loop in plain torch, in one run.

    make bench

The loop does for each configuration what must be done: quantise weights and inputs, go forward, take loss and accuracy;
one configuration after the other, on one thread, without any of chop's code. Both measure the same configurations, and
CPU seconds count. `floor` is the least time for the evaluator's counted work, as a share of what it took.
"""

from __future__ import annotations

import argparse
import io
import logging
import math
import resource
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from evaluator_problems import (
    CLASSES,
    WIDTHS,
    InPlace,
    LargeConvolution,
    Problem,
    balanced,
    convolution,
    deep,
    jsc_s,
    of_product,
)
from floor import floor_of
from rich.console import Console
from rich.table import Table
from torch import Tensor

from chop.actions.search import search
from chop.actions.search.measuring.all_points import BlockTask, measured_blocks
from chop.actions.search.measuring.batched import BatchedMeasurement
from chop.actions.search.measuring.scheduler import FEW_POINTS
from chop.dataset import MaseDataModule
from chop.evaluation.memory import keep_freed_memory
from chop.evaluation.plan_runner import PlanRunner
from chop.executors import Jobs
from chop.ir import QuantPlan
from chop.models import get_model
from chop.record.goals import Goals
from chop.record.trial import Objective
from chop.scoring.task import DEFAULT_TASK, task_of

SECONDS = 2.0
"""How long each loop runs at the least."""


@dataclass(frozen=True)
class Row:
    """A line of the table: a rate (or a time) of ours and of the loop, and what is aimed at."""

    name: str
    ours: str
    loop: str
    ratio: float
    aim: str
    floor: float | None = None
    """The least seconds for our counted work, as a share of those that it took."""


def compare(name: str, problem: Problem, codes: np.ndarray, aim: str) -> Row:
    """Rates on `codes`, of which the loop takes as many as its time allows, spread over all of them."""
    evaluator, measure = problem.evaluator()
    codes = np.unique(codes, axis=0)
    others = codes[: max(300, len(codes) // 20)] + 1  # memory is at hand then, but nothing is known of `codes`
    evaluator.run(others % problem.sizes, [measure])
    ours, (scores,) = timed(lambda: evaluator.run_sorted(codes, [measure]), time.process_time)
    order = np.random.default_rng(0).permutation(len(codes))
    done, spent = 0, 0.0
    while spent < SECONDS and done < len(codes):
        chosen = order[done : done + 20]
        seconds, found = timed(partial(problem.loop, codes[chosen]), time.process_time)
        done, spent = done + len(chosen), spent + seconds
        for row, (loss, accuracy) in zip(chosen, found, strict=True):
            assert abs(scores["loss"][row] - loss) < 1e-4 * max(1.0, abs(loss)), (name, row, scores["loss"][row], loss)
            assert abs(scores["accuracy"][row] - accuracy) < 1e-2, (name, row, scores["accuracy"][row], accuracy)
    rates = len(codes) / ours, done / spent
    share = floor_of(lambda: evaluator.run_sorted(codes, [measure])) / ours
    return Row(name, f"{rates[0]:,.0f}/s", f"{rates[1]:,.0f}/s", rates[0] / rates[1], aim, share)


def timed(function: Callable[[], Any], clock: Callable[[], float] = time.perf_counter) -> tuple[float, Any]:
    """Seconds that a call takes, and what it gives."""
    started = clock()
    result = function()
    return clock() - started, result


def products() -> list[Row]:
    """Whole products of choices, as brute force walks them."""
    return [
        compare("jsc-s, 512 samples, 104,976 of 1,889,568", jsc_s(512), of_product(5, 18, 18**4), "60"),
        compare("jsc-s, 20,000 samples, 5,832", jsc_s(20_000, "train"), of_product(5, 18, 18**3), "40"),
        compare("small CNN, 13,824 of 331,776", convolution(), of_product(4, 24, 24**3), "15"),
    ]


def random_plans() -> list[Row]:
    """Plans that have little in common."""
    draw = np.random.default_rng(0)
    codes = draw.integers(0, 18, (300, 5))
    rows = [("512", jsc_s(512), "1.5"), ("32", jsc_s(32), "4")]
    return [compare(f"300 random plans of jsc-s, {n} samples", problem, codes, aim) for n, problem, aim in rows]


def worst() -> list[Row]:
    """Where little or nothing is shared: never more than 5 % slower than the loop."""
    torch.manual_seed(0)
    draw = np.random.default_rng(0)
    jets_512, one_row = jsc_s(512), Problem(get_model("jsc-s", pretrained=True), balanced(CLASSES, 16), WIDTHS, 5)
    in_place = Problem(InPlace().eval(), balanced(256, 64), WIDTHS, 5)
    large = Problem(LargeConvolution(), balanced(8, 3, 32, 32), ([4, 8], [4, 8], [8]), 6)
    transformer_plans = deep()
    cases = [
        ("one plan of jsc-s, 512 samples", jets_512, 1),
        ("two plans of jsc-s, 512 samples", jets_512, 2),
        ("one plan of jsc-s, 5 samples", one_row, 1),
        ("ten plans of jsc-s, 5 samples", one_row, 10),
        ("two plans, activations in place", in_place, 2),
        ("one plan of a large CNN, 8 images", large, 1),
        ("five plans of jsc-s, 512 samples", jets_512, 5),
        ("ten random plans of a large CNN", large, 10),
        ("one plan of the transformer", transformer_plans, 1),
        ("ten random plans of the transformer", transformer_plans, 10),
    ]
    return [alternately(name, p, draw.integers(0, p.sizes, (count, len(p.sizes)))) for name, p, count in cases]


def scores(outputs: Tensor, targets: Tensor) -> dict[str, float]:
    """The metrics of one network, as a search has them."""
    accumulator = task_of(DEFAULT_TASK, CLASSES).accumulator()
    accumulator.update(outputs, targets)
    return accumulator.result()


def alternately(name: str, problem: Problem, codes: np.ndarray) -> Row:
    """Few configurations: the least time of each way, taken in turns, after a first time for both."""
    evaluator, measure = problem.evaluator()
    codes = np.unique(codes, axis=0)
    runner = PlanRunner(problem.graph, problem.batches)
    runner._shares = False  # each time is the first
    plans = [
        QuantPlan.of({n: f for a, c in zip(problem.axes, code, strict=True) for n, f in a[c].items()}) for code in codes
    ]

    def ours_now() -> Any:
        if len(codes) > FEW_POINTS:  # what a search does
            return evaluator.run_sorted(codes, [measure])
        return [scores(runner.predictions(plan), problem.targets) for plan in plans]

    ways = [ours_now, lambda: problem.loop(codes)]
    seconds = [
        [timed(way, time.process_time)[0] for way in ways]
        for _ in range(1 + max(5, 40 // len(codes) // len(problem.nodes)))
    ]
    ours, loop = (min(column) for column in zip(*seconds[1:], strict=True))
    return Row(name, f"{len(codes) / ours:,.0f}/s", f"{len(codes) / loop:,.0f}/s", loop / ours, "≥ 0.95")


def transformer() -> list[Row]:
    """One layer changed at a time; one quantised plan against float."""
    problem = deep()
    base = np.full(len(problem.nodes), 3)
    codes = [base]
    for layer in range(len(problem.nodes)):
        codes.append(base.copy())
        codes[-1][layer] = 0
    one = compare("one layer of a 12-layer transformer at a time", problem, np.array(codes), "1.8")
    runner = PlanRunner(problem.graph, problem.batches)
    plan = QuantPlan.of({node: problem.formats((8, 8, 8)) for node in problem.nodes})
    return [one, against_float(problem, runner, plan)]


def against_float(problem: Problem, runner: PlanRunner, plan: QuantPlan) -> Row:
    """The whole network anew in both cases: the runner is made to forget what it shares."""
    runner._shares = False
    runner.predictions(plan)
    (x, _), seconds = problem.batches[0], []
    for _ in range(7):
        with torch.no_grad():
            plain = timed(lambda: problem.graph.model(x))[0]
        seconds.append((timed(lambda: runner.predictions(plan))[0], plain))
    ours, plain = (min(column) for column in zip(*seconds, strict=True))
    return Row("that transformer with integer 8, against float", ms(ours), ms(plain), ours / plain, "≤ 1.3")


def ms(seconds: float) -> str:
    """A time in milliseconds."""
    return f"{1000 * seconds:.1f} ms"


def whole() -> None:
    """All of jsc-s with two processes and with one."""
    for n_jobs in (2, 1):
        whole_space(n_jobs)


def whole_space(n_jobs: int) -> None:
    """All of jsc-s, as `ch search` does it."""
    problem = jsc_s(512)
    evaluator, measure = problem.evaluator()
    macs = tuple(512 * layer.inner.weight.numel() for layer in problem.plain_layers)
    batched = BatchedMeasurement(problem.sizes, macs, [(evaluator, [measure])], [], 2**30)
    points = math.prod(problem.sizes)
    objectives = (Objective("accuracy"), Objective("loss", direction="minimize"))
    task = BlockTask(batched, Goals(objectives), batched.block_size(), points, None)
    started = time.perf_counter()
    busy = sum(block.seconds for block in measured_blocks(task, range(task.blocks), task.blocks, Jobs(n_jobs)))
    seconds = time.perf_counter() - started
    children = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss if n_jobs > 1 else 0
    peak = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss + n_jobs * children) / 2**20
    print(
        f"all {points:,} points of jsc-s, {n_jobs} process(es): {seconds:.1f} s with start-up, "
        f"{busy / n_jobs:.1f} s of measuring each, at most {peak:.2f} GiB"
    )


def tpe_trials() -> None:
    """What a trial of TPE costs, all of a search counted."""
    lists = {f"{o}_width": w for o, w in zip(("data_in", "weight", "bias"), WIDTHS, strict=True)}
    table = {
        "search_space": {
            "name": "graph/quantize/mixed_precision_ptq",
            "setup": {"by": "type"},
            "seed": {"default": {"config": {"name": ["NA"]}}, "linear": {"config": {"name": ["integer"], **lists}}},
        },
        "strategy": {
            "name": "optuna",
            "setup": {"n_trials": 100},
            "sw_runner": {"basic_evaluation": {"num_samples": 512}},
            "hw_runner": {"average_bitwidth": {}},
            "metrics": {"accuracy": {"scale": 1.0}, "average_bitwidth": {"scale": 0.2, "direction": "minimize"}},
        },
    }
    data = MaseDataModule("jsc", batch_size=512)
    data.prepare_data()
    data.setup()
    out, quiet = io.StringIO(), io.StringIO()
    with tempfile.TemporaryDirectory() as folder, redirect_stdout(out), redirect_stderr(quiet):
        model = get_model("jsc-s", pretrained=True)
        search(model, data, {**table, "strategy": {**table["strategy"], "setup": {"n_trials": 3}}}, Path(folder) / "a")
        started = time.process_time()
        search(model, data, table, Path(folder) / "b")
        spent = time.process_time() - started
    print(f"100 TPE trials on jsc-s: {10 * spent:.1f} ms of CPU a trial, everything counted (aim: 8)")


def show(rows: Sequence[Row]) -> None:
    """Print the rows as a table."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("", "ours", "floor", "plain loop", "ratio", "aim"):
        table.add_column(name, justify="left" if not name else "right")
    for row in rows:
        share = "" if row.floor is None else f"{row.floor:.0%}"
        table.add_row(row.name, row.ours, share, row.loop, f"{row.ratio:.2f}", row.aim)
    Console(width=120).print(table)


def main() -> None:
    """All benchmarks, or those that are named."""
    parts: dict[str, Callable[[], None]] = {
        "whole": whole,  # first: what others leave in memory would count
        "products": lambda: show(products()),
        "random": lambda: show(random_plans()),
        "transformer": lambda: show(transformer()),
        "worst": lambda: show(worst()),
        "tpe": tpe_trials,
    }
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", choices=[*parts, []], help="which benchmarks; all without any")
    chosen = parser.parse_args().parts or list(parts)
    logging.disable(logging.WARNING)
    torch.set_num_threads(1)
    keep_freed_memory()
    for name in chosen:
        parts[name]()


if __name__ == "__main__":
    main()
