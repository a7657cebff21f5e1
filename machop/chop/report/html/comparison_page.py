"""The page of a comparison: curves of all strategies, their fronts, the verdict."""

from __future__ import annotations

from collections.abc import Mapping
from math import isinf
from typing import Any

import numpy as np

from chop.record.comparison import TARGETS, Band, CompareSummary, StrategySummary
from chop.record.comparison_folder import ComparisonFolder
from chop.report.compare_plot_parts import FEW, MOST_BANDS, highest_regret, lowest_percent
from chop.report.compare_report import facts_of, legend_of, reached, title_of
from chop.report.html.numbers import rounded
from chop.report.html.page import page
from chop.report.html.search_data import provenance
from chop.report.line_styles import Style, line_styles

SCRIPTS = ("core", "charts", "comparison")
CHECKPOINTS = 160
"""Places along a curve that a page holds at the most."""

MOST_CLOUD = 4_000
"""Points of the cloud behind the fronts."""

LINE_WIDTH = 2.0
"""Pixels of a line whose style has no width of its own."""


def comparison_page(files: ComparisonFolder) -> str:
    """The page of a finished comparison. Raises SearchError as `ComparisonFolder.summary` does."""
    data = comparison_data(files.summary)
    data["name"] = files.path.parent.parent.name if files.path.parent.name == "software" else files.path.name
    return page(data, f"{data['name']}: {data['title']}", "comparison", SCRIPTS)


def comparison_data(summary: CompareSummary) -> dict[str, Any]:
    """The data of the page of a comparison, as JSON."""
    names = list(dict.fromkeys([*summary.goals.metrics, *summary.front]))
    styles = line_styles([one.name for one in summary.strategies])
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
        "strategies": [{**_strategy(one, summary.budget), **_style(styles[one.name])} for one in summary.strategies],
        "most_bands": MOST_BANDS if len(summary.seeds) > 1 else 0,
        "is_log": summary.budget > FEW,
        "lowest": lowest_percent(summary) / 100,
        "highest_regret": {label: highest_regret(summary, label) for label in summary.strategies[0].regret},
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


def _style(style: Style) -> dict[str, Any]:
    """The style of a strategy's line in pictures, for SVG."""
    width, dashes = style.get("linewidth", LINE_WIDTH), style["linestyle"]
    lengths = () if dashes == "solid" else dashes[1]
    return {"colour": style["color"], "width": width, "dashes": " ".join(f"{width * own:.3g}" for own in lengths)}


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
    places = _places(len(band.median))
    return {
        "x": (places + 1).astype(int).tolist(),
        "y": rounded(band.median[places]),
        "low": rounded(band.low[places]),
        "high": rounded(band.high[places]),
    }


def _places(count: int) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Places along a curve of so many values: all of a short one, and of a long one more at its beginning."""
    if count <= CHECKPOINTS:
        return np.arange(count)
    half = CHECKPOINTS // 2
    ends = [np.linspace(0, count - 1, half), np.geomspace(1, count, half) - 1]
    return np.unique(np.concatenate(ends).round().astype(int))


def _columns(table: Mapping[str, Any]) -> dict[str, list[float | None]]:
    return {name: rounded(np.asarray(values, np.float64)) for name, values in table.items()}


def _step(values: Any) -> int:
    return max(1, len(values) // MOST_CLOUD)


def _number(value: float | None) -> float | None:
    return None if value is None or isinf(value) else rounded([value])[0]
