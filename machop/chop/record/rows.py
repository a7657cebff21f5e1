"""Converts trials to rows of `best.json` and `log.json`, the two result files of a search, and back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from math import isfinite, nan
from typing import Any

from chop.record.trial import BestRow, Finished, TestMetrics, Trial

OPTIONAL = ("failed", "inherited", "repeats", "stopped_at")
"""Fields of a trial that a row has only where they say something."""

FRAC_WIDTHS = "measured_frac_widths"

METRICS = ("software_metrics", "hardware_metrics", "scaled_metrics")


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
    """A row as `best.json` holds it: the figures of the search, and under `finished` those of the tuned network.

    So a chop that knows of no tuning reads the figures of the search, and nothing wrong.
    """
    values = trial_as_json(row.searched, row.sampled_config)
    values["equal_trials"] = list(row.equals)
    if row.equal_points:
        values["equal_points"] = row.equal_points
    if row.frac_widths:
        values[FRAC_WIDTHS] = {node: dict(found) for node, found in row.frac_widths.items()}
    values |= _tests_as_json(row.finished.searched_tests if row.finished else row.test_metrics)
    return values | ({"finished": finished_as_json(row, row.finished)} if row.finished else {})


def finished_as_json(row: BestRow, finished: Finished) -> dict[str, Any]:
    """The figures of a tuned network, and how it was tuned, as `best.json` holds them."""
    metrics = {name: dict(getattr(row.trial, name)) for name in METRICS}
    about = {"tuning": dict(finished.tuning), "seconds": round(finished.seconds, 6)}
    return {
        **about,
        "graph": finished.graph,
        "graph_sha256": finished.graph_sha256,
        **metrics,
        **_tests_as_json(row.test_metrics),
    }


def _tests_as_json(tests: TestMetrics | None) -> dict[str, Any]:
    if tests is None:
        return {}
    return {"test_metrics": {name: interval_as_json(interval) for name, interval in tests.items()}}


def trial_from_json(row: Mapping[str, Any], point: Mapping[str, int]) -> Trial:
    """The trial of a row, without its point and its seconds, which a row does not hold."""
    optional = {name: row[name] for name in OPTIONAL if name in row}
    metrics = (row["software_metrics"], row["hardware_metrics"], row["scaled_metrics"])
    return Trial(row["number"], point, *metrics, **optional)


def best_row_from_json(row: Mapping[str, Any], trial: Trial) -> BestRow:
    """A row of `best.json`; `trial` is its trial, with the figures of the search.

    The row adds those that were measured for the best networks alone.
    """
    tests = _tests_from_json(row)
    trial = replace(
        trial,
        software_metrics={**row["software_metrics"], **trial.software_metrics},
        hardware_metrics={**row["hardware_metrics"], **trial.hardware_metrics},
    )
    equals = tuple(row.get("equal_trials", ()))
    found = BestRow(
        trial, equals, row["sampled_config"], tests, row.get("equal_points", 0), frac_widths=row.get(FRAC_WIDTHS, {})
    )
    tuned = row.get("finished")
    return found if tuned is None else finished_row(found, tuned)


def finished_row(row: BestRow, tuned: Mapping[str, Any]) -> BestRow:
    """A row of the search with the figures `tuned` of its network, as `best.json` holds them."""
    about = (dict(tuned["tuning"]), tuned["graph"], tuned["graph_sha256"], float(tuned["seconds"]))
    software, hardware, scaled = (dict(tuned[name]) for name in METRICS)
    trial = replace(row.trial, software_metrics=software, hardware_metrics=hardware, scaled_metrics=scaled)
    finished = Finished(row.trial, *about, searched_tests=row.test_metrics)
    return replace(row, trial=trial, test_metrics=_tests_from_json(tuned), finished=finished)


def _tests_from_json(row: Mapping[str, Any]) -> TestMetrics | None:
    tested = row.get("test_metrics")
    return None if tested is None else {name: interval_from_json(interval) for name, interval in tested.items()}


def interval_as_json(interval: tuple[float, float, float]) -> dict[str, float | None]:
    """A value with the bounds of its 95 % interval, as in files; null for no interval."""
    value, low, high = (number if isfinite(number) else None for number in interval)
    return {"value": value, "low_95": low, "high_95": high}


def interval_from_json(row: Mapping[str, Any]) -> tuple[float, float, float]:
    """The value and interval that `interval_as_json` wrote; null becomes nan."""
    value, low, high = (nan if row[name] is None else float(row[name]) for name in ("value", "low_95", "high_95"))
    return value, low, high
