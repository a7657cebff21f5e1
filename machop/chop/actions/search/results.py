"""What a search leaves behind: the Pareto set, every trial, and the way back from a row to its network."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from chop.actions.replay import BEST_FILE, LOG_FILE
from chop.actions.search.search_space.base import SearchSpaceBase
from chop.actions.search.settings import StudySetup
from chop.actions.search.study import distinct, study_directions, study_values
from chop.ir.trial import BestRow, FrontRow, Objective, Trial, pareto_front
from chop.tools.files import write_whole

LARGEST_LOG = 100_000
TRIALS_FILE = "trials.jsonl"
HISTOGRAMS_FILE = "histograms.json"
REPORT_FILE = "report.md"


def best_row_as_json(row: BestRow) -> dict[str, Any]:
    """A row as `best.json` holds it."""
    values = trial_as_json(row.trial, row.sampled_config)
    values["equal_trials"] = list(row.equals)
    if row.equal_points:
        values["equal_points"] = row.equal_points
    if row.test_metrics is not None:
        values["test_metrics"] = {
            name: {"value": value, "low_95": low, "high_95": high}
            for name, (value, low, high) in row.test_metrics.items()
        }
    return values


def best_rows(
    trials: Sequence[Trial], objectives: tuple[Objective, ...], setup: StudySetup, space: SearchSpaceBase
) -> list[BestRow]:
    """The Pareto set, or with `sum_scaled_metrics` the best trial."""
    if all(trial.failed for trial in trials):
        return []
    found = [_best_of_sum(trials, objectives, setup)] if setup.sum_scaled_metrics else pareto_front(trials, objectives)
    return [BestRow(row.trial, row.equals, space.flattened_indexes_to_config(row.trial.point)) for row in found]


def _best_of_sum(trials: Sequence[Trial], objectives: tuple[Objective, ...], setup: StudySetup) -> FrontRow:
    sign = 1 if study_directions(objectives, setup)[0] == "minimize" else -1

    def cost(trial: Trial) -> float:
        return sign * study_values(trial, objectives, setup)[0]

    measured = [trial for trial in distinct(list(trials)) if not trial.failed]
    best = min(measured, key=cost)
    equals = tuple(t.number for t in measured if cost(t) == cost(best) and t.number != best.number)
    return FrontRow(best, equals)


def trial_as_json(trial: Trial, sampled_config: Mapping[str, Any]) -> dict[str, Any]:
    """A trial as `best.json` and `log.json` hold it."""
    row: dict[str, Any] = {
        "number": trial.number,
        "sampled_config": dict(sampled_config),
        "software_metrics": dict(trial.software_metrics),
        "hardware_metrics": dict(trial.hardware_metrics),
        "scaled_metrics": dict(trial.scaled_metrics),
    }
    row |= {"failed": trial.failed} if trial.failed else {}
    return row if trial.repeats is None else {**row, "repeats": trial.repeats}


def write_best(folder: Path, best: Sequence[BestRow], space: SearchSpaceBase) -> None:
    """Write `best.json`."""
    rows = [{**best_row_as_json(row), **_of_space(space, row.trial)} for row in best]
    write_json(folder / BEST_FILE, {str(index): row for index, row in enumerate(rows)})


def write_log(folder: Path, trials: Sequence[Trial], best: Sequence[BestRow], space: SearchSpaceBase) -> None:
    """Write `log.json`: every trial, or beyond 100,000 of them the front alone."""
    if len(trials) <= LARGEST_LOG:
        rows = [(trial, space.flattened_indexes_to_config(trial.point)) for trial in trials]
    else:
        rows = [(row.trial, row.sampled_config) for row in best]
    written = [{**trial_as_json(trial, config), **_of_space(space, trial)} for trial, config in rows]
    write_json(folder / LOG_FILE, {str(number): row for number, row in enumerate(written)})


def _of_space(space: SearchSpaceBase, trial: Trial) -> dict[str, int]:
    """The number of a trial's point in its space, and how many rows its ranges were measured on."""
    index = space.index(trial.point)
    found = {} if index is None else {"point": index, "of_points": space.size}
    return found | ({"calibration_rows": space.calibration_rows} if space.calibration_rows else {})


def write_json(path: Path, value: Any) -> None:
    """Write JSON whole, or not at all."""
    write_whole(path, json.dumps(value, indent=2) + "\n")
