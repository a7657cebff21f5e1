"""What a search leaves behind: the Pareto set, every trial, and the way back from a row to its network."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from chop.actions.search.search_space.base import SearchSpaceBase
from chop.record.front import Front
from chop.record.goals import Goals, columns
from chop.record.names import BEST_FILE, LOG_FILE
from chop.record.sealed_json import sealed_rows
from chop.record.trial import BestRow, FrontRow, Trial
from chop.scoring.scores import interval_as_json
from chop.tools.files import write_whole
from chop.tools.whole_numbers import as_json

LARGEST_LOG = 100_000
HISTOGRAMS_FILE = "histograms.json"
REPORT_FILE = "report.md"


def best_row_as_json(row: BestRow) -> dict[str, Any]:
    """A row as `best.json` holds it."""
    values = trial_as_json(row.trial, row.sampled_config)
    values["equal_trials"] = list(row.equals)
    if row.equal_points:
        values["equal_points"] = row.equal_points
    if row.test_metrics is not None:
        values["test_metrics"] = {name: interval_as_json(interval) for name, interval in row.test_metrics.items()}
    return values


def best_rows(trials: Sequence[Trial], goals: Goals, space: SearchSpaceBase) -> list[BestRow]:
    """The Pareto set, or the best trial where a sum is optimised, of the trials that keep all limits.

    Where none does it is the trial that comes nearest.
    """
    measured = [trial for trial in trials if trial.counts]
    if not measured:
        return []
    within = [trial for trial in measured if goals.is_within(trial.metrics)]
    rows = pareto_set(within, goals) if within else [FrontRow(nearest(measured, goals))]
    return [BestRow(row.trial, row.equals, space.flattened_indexes_to_config(row.trial.point)) for row in rows]


def pareto_set(trials: Sequence[Trial], goals: Goals) -> list[FrontRow]:
    """The trials that no other dominates, by number; equal ones stand once, under the lowest number.

    >>> from chop.record.trial import Objective
    >>> def row(number, a, b):
    ...     return Trial(number, {}, {}, {"a": a, "b": b}, {})
    >>> goals = Goals((Objective("a", direction="maximize"), Objective("b", direction="minimize")))
    >>> [r.trial.number for r in pareto_set([row(0, 1, 1), row(1, 2, 2), row(2, 1, 3), row(3, 2, 2)], goals)]
    [0, 1]
    """
    costs = goals.costs_of(trials)
    front = Front.of(costs, np.arange(len(trials)))
    rows = []
    for index, own in sorted(zip(front.index.tolist(), front.costs, strict=True), key=lambda row: row[0]):
        equals = np.flatnonzero((costs == own).all(1)).tolist()
        rows.append(FrontRow(trials[index], tuple(trials[place].number for place in equals[1:])))
    return rows


def nearest(trials: Sequence[Trial], goals: Goals) -> Trial:
    """The trial that exceeds the limits least, of equal ones the first."""
    return trials[int(goals.excess(columns(trials, goals.metrics)).argmin())]


def shortfall(metrics: Mapping[str, float], goals: Goals) -> str:
    """One line on limits that the nearest network does not keep."""
    return f"No measured network keeps all limits. The nearest is shown; it misses {goals.misses(metrics)}."


def trial_as_json(trial: Trial, sampled_config: Mapping[str, Any]) -> dict[str, Any]:
    """A trial as `best.json` and `log.json` hold it."""
    row: dict[str, Any] = {
        "number": trial.number,
        "sampled_config": dict(sampled_config),
        "software_metrics": dict(trial.software_metrics),
        "hardware_metrics": dict(trial.hardware_metrics),
        "scaled_metrics": dict(trial.scaled_metrics),
    }
    optional = {name: getattr(trial, name) for name in ("failed", "inherited") if getattr(trial, name)}
    optional |= {name: getattr(trial, name) for name in ("repeats", "stopped_at") if getattr(trial, name) is not None}
    return row | optional


def write_best(folder: Path, best: Sequence[BestRow], space: SearchSpaceBase, search: str) -> None:
    """Write `best.json`; `search` is the identity of the search."""
    rows = [{**best_row_as_json(row), **_of_space(space, row.trial)} for row in best]
    texts = sealed_rows(rows, BEST_FILE, search)
    write_json(folder / BEST_FILE, {str(index): json.loads(text) for index, text in enumerate(texts)})


def write_log(
    folder: Path, trials: Sequence[Trial], best: Sequence[BestRow], space: SearchSpaceBase, search: str
) -> None:
    """Write `log.json`: every trial, or beyond 100,000 of them the front alone."""
    if len(trials) <= LARGEST_LOG:
        rows = [(trial, space.flattened_indexes_to_config(trial.point)) for trial in trials]
    else:
        rows = [(row.trial, row.sampled_config) for row in best]
    written = [{**trial_as_json(trial, config), **_of_space(space, trial)} for trial, config in rows]
    texts = sealed_rows(written, LOG_FILE, search)
    rows_as_text = (f'"{number}": {text}' for number, text in enumerate(texts))  # a line each: many of them
    write_whole(folder / LOG_FILE, "{\n" + ",\n".join(rows_as_text) + "\n}\n")


def _of_space(space: SearchSpaceBase, trial: Trial) -> dict[str, int | str]:
    """The number of a trial's point in its space, and how many rows its ranges were measured on."""
    index = space.index(trial.point)
    found: dict[str, int | str] = {} if index is None else {"point": as_json(index), "of_points": as_json(space.size)}
    return found | ({"calibration_rows": space.calibration_rows} if space.calibration_rows else {})


def write_json(path: Path, value: Any) -> None:
    """Write JSON whole, or not at all."""
    write_whole(path, json.dumps(value, indent=2) + "\n")
