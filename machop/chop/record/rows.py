"""Converts trials to rows of `best.json` and `log.json`, the two result files of a search, and back."""

from __future__ import annotations

from collections.abc import Mapping
from math import isfinite, nan
from typing import Any

from chop.record.trial import BestRow, TestMetrics, Trial

OPTIONAL = ("failed", "inherited", "repeats", "stopped_at")
"""Fields of a trial that a row has only where they say something."""


def trial_as_json(trial: Trial, sampled_config: Mapping[str, Any]) -> dict[str, Any]:
    """A trial as `best.json` and `log.json` hold it."""
    row: dict[str, Any] = {
        "number": trial.number,
        "sampled_config": dict(sampled_config),
        "software_metrics": dict(trial.software_metrics),
        "hardware_metrics": dict(trial.hardware_metrics),
        "scaled_metrics": dict(trial.scaled_metrics),
    }
    return row | {name: value for name in OPTIONAL if (value := getattr(trial, name)) not in ("", None)}


def best_row_as_json(row: BestRow) -> dict[str, Any]:
    """A row as `best.json` holds it."""
    values = trial_as_json(row.trial, row.sampled_config)
    values["equal_trials"] = list(row.equals)
    if row.equal_points:
        values["equal_points"] = row.equal_points
    if row.test_metrics is not None:
        values["test_metrics"] = {name: interval_as_json(interval) for name, interval in row.test_metrics.items()}
    return values


def trial_from_json(row: Mapping[str, Any], point: Mapping[str, int]) -> Trial:
    """The trial of a row, without its point and its seconds, which a row does not hold."""
    optional = {name: row[name] for name in OPTIONAL if name in row}
    metrics = (row["software_metrics"], row["hardware_metrics"], row["scaled_metrics"])
    return Trial(row["number"], point, *metrics, **optional)


def best_row_from_json(row: Mapping[str, Any], trial: Trial) -> BestRow:
    """A row of `best.json`; `trial` is its trial."""
    tested = row.get("test_metrics")
    scores: TestMetrics | None = (
        None if tested is None else {name: interval_from_json(interval) for name, interval in tested.items()}
    )
    equals = tuple(row.get("equal_trials", ()))
    return BestRow(trial, equals, row["sampled_config"], scores, row.get("equal_points", 0))


def interval_as_json(interval: tuple[float, float, float]) -> dict[str, float | None]:
    """A value with the bounds of its 95 % interval, as in files; null for no interval."""
    value, low, high = (number if isfinite(number) else None for number in interval)
    return {"value": value, "low_95": low, "high_95": high}


def interval_from_json(row: Mapping[str, Any]) -> tuple[float, float, float]:
    """The value and interval that `interval_as_json` wrote; null becomes nan."""
    value, low, high = (nan if row[name] is None else float(row[name]) for name in ("value", "low_95", "high_95"))
    return value, low, high
