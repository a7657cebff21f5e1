"""Converts a comparison to `summary.json` and back: all its figures, and the curves of its pictures.

What was not reached is null.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from math import inf, isinf
from typing import Any

import numpy as np

from chop.record.comparison import (
    Array,
    Band,
    CompareSummary,
    Comparison,
    Spread,
    StrategySummary,
    checkpoints,
    finite_or_none,
)
from chop.record.goals import Goals
from chop.record.summary import Origin
from chop.tools.whole_numbers import as_json, from_json

BAND = ("low", "median", "high")
PLAIN = ("runs", "deterministic", "evaluations", "duplicates", "seconds", "seconds_per_trial", "front_share")
"""Fields of a strategy's summary that files hold as they are."""


def comparison_as_json(summary: CompareSummary) -> dict[str, Any]:
    """All figures of a comparison."""
    return {
        "space_size": as_json(summary.space_size),
        "budget": summary.budget,
        "seeds": list(summary.seeds),
        "is_exact": summary.is_exact,
        "measured": summary.measured,
        "interrupted": summary.interrupted,
        "runs": summary.runs,
        "planned_runs": summary.planned_runs,
        "provenance": summary.origin.data,
        "origin": asdict(summary.origin),
        "units": dict(summary.units),
        "samples": summary.samples,
        "goals": summary.goals.as_json(),
        "front": _lists(summary.front),
        "strategies": {one.name: _strategy(one, summary.budget) for one in summary.strategies},
        "comparisons": [_comparison(one) for one in summary.comparisons],
        "rank_correlations": [[a, b, rho] for (a, b), rho in summary.correlations.items()],
        "verdict": list(summary.verdict),
        "remarks": list(summary.remarks),
        "curves": {one.name: _curves(one) for one in summary.strategies},
        "cloud": _lists(summary.cloud),
        "uniform": _lists(summary.uniform),
        "pairs": [list(pair) for pair in summary.pairs],
    }


def comparison_from_json(row: Mapping[str, Any]) -> CompareSummary:
    """The comparison in `summary.json`. Raises one of `DAMAGES` for a malformed one."""
    return CompareSummary(
        goals=Goals.from_json(row["goals"]),
        origin=Origin(**row["origin"]),
        space_size=from_json(row["space_size"]),
        measured=row["measured"],
        budget=row["budget"],
        seeds=row["seeds"],
        is_exact=row["is_exact"],
        strategies=[_strategy_from(name, own, row["curves"][name]) for name, own in row["strategies"].items()],
        verdict=row["verdict"],
        comparisons=[_comparison_from(own) for own in row["comparisons"]],
        correlations={(a, b): rho for a, b, rho in row["rank_correlations"]},
        remarks=row["remarks"],
        front=_arrays(row["front"]),
        cloud=_arrays(row["cloud"]),
        pairs=[(cost, value) for cost, value in row["pairs"]],
        uniform=_arrays(row["uniform"]),
        runs=row["runs"],
        planned_runs=row["planned_runs"],
        units=row["units"],
        samples=row.get("samples", ""),
    )


def _strategy(one: StrategySummary, budget: int) -> dict[str, Any]:
    counts = checkpoints(budget)
    return {
        **{name: getattr(one, name) for name in PLAIN},
        "evaluations_to": {f"{share:.2f}": _spread(at) for share, at in one.evaluations_to.items()},
        "hypervolume_at": {str(count): _spread(one.hypervolume.at(count)) for count in counts},
        "hypervolume_at_trial": _at_trials(one.hypervolume_by_trial, counts),
        "regret_at": {
            label: {str(count): _spread(own.at(count)) for count in counts} for label, own in one.regret.items()
        },
        "front": _lists(one.front),
        "probes": one.probes,
    }


def _strategy_from(name: str, row: Mapping[str, Any], curves: Mapping[str, Any]) -> StrategySummary:
    return StrategySummary(
        name=name,
        **{field: row[field] for field in PLAIN},
        hypervolume=_band_from(curves["hypervolume"]),
        hypervolume_by_trial=_band_from(curves["hypervolume_by_trial"]),
        regret={label: _band_from(own) for label, own in curves["regret"].items()},
        evaluations_to={float(share): _spread_from(at) for share, at in row["evaluations_to"].items()},
        front=_arrays(row["front"]),
        probes=row.get("probes", 0.0),
    )


def _curves(one: StrategySummary) -> dict[str, Any]:
    """The bands of a strategy after every evaluation, and after every trial."""
    return {
        "hypervolume": _band(one.hypervolume),
        "hypervolume_by_trial": _band(one.hypervolume_by_trial),
        "regret": {label: _band(own) for label, own in one.regret.items()},
    }


def _comparison(one: Comparison) -> dict[str, Any]:
    row = asdict(one)
    endless = [name for name, value in row.items() if isinstance(value, float) and isinf(value)]
    return row | dict.fromkeys(endless) | {"infinite": endless}


def _comparison_from(row: Mapping[str, Any]) -> Comparison:
    own = {name: value for name, value in row.items() if name != "infinite"}
    return Comparison(**own | dict.fromkeys(row["infinite"], inf))


def _at_trials(own: Band, counts: Sequence[int]) -> dict[str, Any]:
    return {str(count): _spread(own.at(count)) for count in counts if count <= len(own.median)}


def _spread(at: Spread) -> dict[str, float | None]:
    return dict(zip(BAND, map(finite_or_none, at), strict=True))


def _spread_from(row: Mapping[str, float | None]) -> Spread:
    low, median, high = (_finite_from(row[name]) for name in BAND)
    return low, median, high


def _band(own: Band) -> dict[str, list[float | None]]:
    return {name: [finite_or_none(value) for value in getattr(own, name).tolist()] for name in BAND}


def _band_from(row: Mapping[str, Sequence[float | None]]) -> Band:
    low, median, high = (np.array([_finite_from(value) for value in row[name]]) for name in BAND)
    return Band(low, median, high)


def _finite_from(value: float | None) -> float:
    return inf if value is None else value


def _lists(columns: Mapping[str, Array]) -> dict[str, list[float]]:
    return {name: values.tolist() for name, values in columns.items()}


def _arrays(columns: Mapping[str, Sequence[float]]) -> dict[str, Array]:
    return {name: np.array(values, dtype=np.float64) for name, values in columns.items()}
