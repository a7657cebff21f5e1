"""The page of a comparison: curves of all strategies, their fronts, the verdict."""

from __future__ import annotations

from collections.abc import Mapping
from math import isinf
from typing import Any

import numpy as np

from chop.record.comparison import TARGETS, Band, CompareSummary, StrategySummary
from chop.record.comparison_folder import ComparisonFolder
from chop.report.compare_report import facts_of, legend_of, reached, title_of
from chop.report.html.numbers import rounded
from chop.report.html.page import page
from chop.report.html.search_data import provenance

SCRIPTS = ("core", "charts", "comparison")
CHECKPOINTS = 160
"""Places along a curve that a page holds."""

MOST_CLOUD = 4_000
"""Points of the cloud behind the fronts."""


def comparison_page(files: ComparisonFolder) -> str:
    """The page of a finished comparison. Raises SearchError as `ComparisonFolder.summary` does."""
    data = comparison_data(files.summary)
    data["name"] = files.path.parent.parent.name if files.path.parent.name == "software" else files.path.name
    return page(data, f"{data['name']}: {data['title']}", "comparison", SCRIPTS)


def comparison_data(summary: CompareSummary) -> dict[str, Any]:
    """The data of the page of a comparison, as JSON."""
    names = list(dict.fromkeys([*summary.goals.metrics, *summary.front]))
    directions = {own.metric: "minimize" if own.turn > 0 else "maximize" for own in summary.goals.objectives}
    return {
        "kind": "comparison",
        "title": title_of(summary),
        "legend": legend_of(summary),
        "verdict": list(summary.verdict),
        "facts": facts_of(summary),
        "share": summary.share,
        "whole": summary.whole,
        "best": summary.best,
        "metrics": [
            {"name": name, "unit": summary.units.get(name, ""), "direction": directions.get(name, "maximize")}
            for name in names
        ],
        "pairs": [list(pair) for pair in summary.pairs],
        "targets": list(TARGETS),
        "strategies": [_strategy(one, summary.budget) for one in summary.strategies],
        "front": _columns(summary.front),
        "cloud": _columns({name: values[:: _step(values)] for name, values in summary.cloud.items()}),
        "uniform": _columns(summary.uniform),
        "constraints": [
            {"metric": own.metric, "bound": own.bound, "text": own.explained()} for own in summary.goals.constraints
        ],
        "comparisons": [
            {
                "strategy": own.strategy,
                "reference": own.reference,
                "measure": own.measure,
                "own": _number(own.own),
                "other": _number(own.other),
                "p": own.p,
                "effect": own.effect,
                "word": own.word,
            }
            for own in summary.comparisons
        ],
        "provenance": provenance(summary.origin),
    }


def _strategy(one: StrategySummary, budget: int) -> dict[str, Any]:
    return {
        "name": one.name,
        "runs": one.runs,
        "curve": _band(one.hypervolume),
        "by_trial": _band(one.hypervolume_by_trial),
        "regret": {label: _band(band) for label, band in one.regret.items()},
        "to": [[_number(value) for value in one.evaluations_to[target]] for target in TARGETS],
        "reached": [reached(one.evaluations_to[target][1], budget, one) for target in TARGETS],
        "at_end": rounded(list(one.hypervolume.at(len(one.hypervolume.median)))),
        "repeats": _number(one.duplicates),
        "seconds": _number(one.seconds_per_trial),
        "front": _columns(one.front),
    }


def _band(band: Band) -> dict[str, Any]:
    count = len(band.median)
    places = (
        np.unique(np.linspace(0, count - 1, min(CHECKPOINTS, count)).round().astype(int)) if count else np.zeros(0, int)
    )
    return {
        "x": (places + 1).astype(int).tolist(),
        "y": rounded(band.median[places]),
        "low": rounded(band.low[places]),
        "high": rounded(band.high[places]),
    }


def _columns(table: Mapping[str, Any]) -> dict[str, list[float | None]]:
    return {name: rounded(np.asarray(values, np.float64)) for name, values in table.items()}


def _step(values: Any) -> int:
    return max(1, len(values) // MOST_CLOUD)


def _number(value: float | None) -> float | None:
    return None if value is None or isinf(value) else rounded([value])[0]
