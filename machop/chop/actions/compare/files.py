"""The files of a comparison: every trial as a tidy table, and all figures as JSON."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from chop.actions.compare.answers import Answers
from chop.actions.compare.curves import by_trial
from chop.actions.compare.experiment import Run
from chop.actions.compare.summing_up import Outcome
from chop.record.landscape import read_about
from chop.record.names import LANDSCAPE_FILE, SUMMARY_FILE
from chop.record.sealed_json import sealed
from chop.report.compare_summary import (
    Band,
    CompareSummary,
    Spread,
    StrategySummary,
    checkpoints,
    finite_or_none,
)
from chop.tools.files import write_whole
from chop.tools.whole_numbers import as_column, as_json

EVALUATIONS_FILE = "evaluations"


def write_evaluations(folder: Path, found: Sequence[Outcome], answers: Answers) -> list[Path]:
    """Write every trial of every run, a row each, as Parquet and as CSV."""
    import pyarrow as pa
    import pyarrow.csv
    import pyarrow.parquet

    metrics = answers.landscape().metrics
    pieces = [_columns(run, curve, answers) for one in found for run, curve in zip(one.runs, one.curves, strict=True)]
    rows = np.concatenate([run.rows for one in found for run in one.runs])
    joined = {name: np.concatenate([piece[name] for piece in pieces]) for name in pieces[0]}
    joined["point"] = as_column(joined["point"].tolist())
    table = pa.table({**joined, **{name: values[rows] for name, values in metrics.items()}})
    files = []
    for suffix, write in ((".parquet", pyarrow.parquet.write_table), (".csv", pyarrow.csv.write_csv)):
        buffer = io.BytesIO()
        write(table, buffer)
        files.append(write_whole(folder / f"{EVALUATIONS_FILE}{suffix}", buffer.getvalue()))
    return files


def _columns(run: Run, curve: Any, answers: Answers) -> dict[str, Any]:
    """The columns of one run: `evaluation` counts points that came for the first time, `hypervolume` is a share."""
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
    """What `--json` prints: medians over seeds; what was not reached is null."""
    return {"strategies": {one.name: _strategy(one, summary.budget) for one in summary.strategies}}


def _strategy(one: StrategySummary, budget: int) -> dict[str, Any]:
    return {
        "evaluations_to": {f"{share:.2f}": _count(at[1]) for share, at in one.evaluations_to.items()},
        "hypervolume_at": {str(count): one.hypervolume.at(count)[1] for count in checkpoints(budget)},
        "duplicates": _count(one.duplicates),
        "seconds": one.seconds,
    }


def _count(median: float) -> float | int | None:
    """A median of whole numbers, which may lie between two of them."""
    return int(median) if median.is_integer() else finite_or_none(median)


def write_summary(folder: Path, summary: CompareSummary) -> Path:
    """Write all figures."""
    path = folder / SUMMARY_FILE
    about = read_about(folder / LANDSCAPE_FILE) if (folder / LANDSCAPE_FILE).exists() else {}
    row = sealed({**_summary(summary), "landscape": about.get("key")}, SUMMARY_FILE, "")
    write_whole(path, json.dumps(row, indent=2) + "\n")
    return path


def _summary(summary: CompareSummary) -> dict[str, Any]:
    return {
        "space_size": as_json(summary.space_size),
        "budget": summary.budget,
        "seeds": list(summary.seeds),
        "is_exact": summary.is_exact,
        "measured": summary.measured,
        "interrupted": summary.interrupted,
        "runs": summary.runs,
        "planned_runs": summary.planned_runs,
        "provenance": summary.provenance,
        "goals": summary.goals.as_json(),
        "front": _lists(summary.front),
        "strategies": {one.name: _all_of(one, summary.budget) for one in summary.strategies},
        "comparisons": [_comparison(asdict(one)) for one in summary.comparisons],
        "rank_correlations": [[a, b, rho] for (a, b), rho in summary.correlations.items()],
        "verdict": list(summary.verdict),
        "remarks": list(summary.remarks),
    }


def _all_of(one: StrategySummary, budget: int) -> dict[str, Any]:
    counts = checkpoints(budget)
    return {
        "runs": one.runs,
        "deterministic": one.deterministic,
        "evaluations_to": {f"{share:.2f}": _spread(at) for share, at in one.evaluations_to.items()},
        "hypervolume_at": {str(count): _spread(one.hypervolume.at(count)) for count in counts},
        "hypervolume_at_trial": _at_trials(one.hypervolume_by_trial, counts),
        "regret_at": {
            label: {str(count): _spread(own.at(count)) for count in counts} for label, own in one.regret.items()
        },
        "evaluations": one.evaluations,
        "duplicates": one.duplicates,
        "seconds": one.seconds,
        "seconds_per_trial": one.seconds_per_trial,
        "front": _lists(one.front),
    }


def _at_trials(own: Band, counts: Sequence[int]) -> dict[str, Any]:
    return {str(count): _spread(own.at(count)) for count in counts if count <= len(own.median)}


def _spread(at: Spread) -> dict[str, float | None]:
    return dict(zip(("low", "median", "high"), map(finite_or_none, at), strict=True))


def _comparison(row: dict[str, Any]) -> dict[str, Any]:
    return {name: finite_or_none(value) if isinstance(value, float) else value for name, value in row.items()}


def _lists(columns: Mapping[str, Any]) -> dict[str, list[float]]:
    return {name: values.tolist() for name, values in columns.items()}
