"""Makes the columns of the table of all trials, and the answer that `ch compare --json` prints."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from chop.actions.compare.answers import Answers
from chop.actions.compare.curves import by_trial
from chop.actions.compare.experiment import Run
from chop.actions.compare.summary import StrategyRuns
from chop.record.comparison import (
    CompareSummary,
    StrategySummary,
    checkpoints,
    finite_or_none,
)
from chop.tools.whole_numbers import as_column


def evaluations(found: Sequence[StrategyRuns], answers: Answers) -> dict[str, Any]:
    """All trials of all runs as a table, `{column: values}`."""
    metrics = answers.landscape().metrics
    pieces = [_columns(run, curve, answers) for one in found for run, curve in zip(one.runs, one.curves, strict=True)]
    rows = np.concatenate([run.rows for one in found for run in one.runs])
    joined = {name: np.concatenate([piece[name] for piece in pieces]) for name in pieces[0]}
    joined["point"] = as_column(joined["point"].tolist())
    return {**joined, **{name: values[rows] for name, values in metrics.items()}}


def _columns(run: Run, curve: Any, answers: Answers) -> dict[str, Any]:
    """The columns of one run: `evaluation` counts evaluations so far, `hypervolume` is a share."""
    count = len(run.rows)
    return {
        "strategy": np.full(count, run.strategy),
        "seed": np.full(count, run.seed),
        "trial": np.arange(count),
        "evaluation": np.cumsum(run.is_new),
        "repeat": ~run.is_new,
        "point": np.array(answers.indexes(run.rows), dtype=object),
        "hypervolume": by_trial(curve, run.is_new),
        "seconds": run.seconds,
    }


def as_answer(summary: CompareSummary) -> dict[str, Any]:
    """The output of `--json`: medians over seeds; null for targets that were not reached."""
    return {"strategies": {one.name: _strategy(one, summary.budget) for one in summary.strategies}}


def _strategy(one: StrategySummary, budget: int) -> dict[str, Any]:
    return {
        "evaluations_to": {f"{share:.2f}": _count(at[1]) for share, at in one.evaluations_to.items()},
        "hypervolume_at": {str(count): one.hypervolume.at(count)[1] for count in checkpoints(budget)},
        "duplicates": _count(one.duplicates),
        "seconds": one.seconds,
        "probes": one.probes,
    }


def _count(median: float) -> float | int | None:
    """A median of integers, which may be a half."""
    return int(median) if median.is_integer() else finite_or_none(median)
