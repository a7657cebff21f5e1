"""The pictures of a search, from the same data as its page: front, history, choices, layers, importance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isfinite, nan
from typing import Any

import numpy as np

from chop.errors import SearchError
from chop.record.goals import Goals
from chop.report.figure_text import figure_text
from chop.report.format_texts import OPERANDS as OPERAND_NAMES
from chop.report.format_texts import in_one_line
from chop.report.html.numbers import LEAST_TRIALS, Floats
from chop.report.plots.pictures import Axis, Bars, Bound, HeatMap, Parallel, Points, Scatter, Steps

MOST_NETWORKS = 24
"""Networks of the front that a picture of their layers has room for."""

MOST_BARS = 14
IMPORTANCE_NOTE = (
    "Main effects of a functional ANOVA (a linear model of {trials:,} trials).\n"
    "Uncertain for values that the strategy hardly tried."
)
MOST_LETTERS = 300_000
"""The most letters of formats that points beside the front show on hover; above it, they show their figures alone."""

MOST_LAYERS_IN_HOVER = 12

Data = Mapping[str, Any]


def front_picture(
    data: Data, goals: Goals, formats: Sequence[str] = (), x: str | None = None, y: str | None = None
) -> Scatter:
    """All trials and the front, by the metrics `x` and `y`.

    By default these are the second objective and the first, or another metric where there is one objective. `formats`
    are those of each trial, in words. Raises SearchError for a metric that the search does not have.
    """
    x, y = _pair(data, x, y)
    bounds = [
        Bound(own["text"], "x" if own["metric"] == x else "y", own["bound"])
        for own in data["goals"]["constraints"]
        if own["metric"] in (x, y)
    ]
    points = [*_clouds(data, goals, formats, x, y), *_exact(data, x, y), *_front(data, x, y)]
    for row in (row for row in data["baselines"] if {x, y} <= set(row["metrics"])):
        _add_baseline(data, row, (x, y), points, bounds)
    return Scatter(_measured_title(data, x), _measured_title(data, y), points, bounds)


def _measured_title(data: Data, name: str) -> str:
    """A metric with its unit, and the samples that it was measured on, if any."""
    samples = next((own.get("samples") for own in data["metrics"] if own["name"] == name), "")
    return f"{titled(data, name)} ({samples})" if samples else titled(data, name)


def _add_baseline(data: Data, row: Data, axes: tuple[str, str], points: list[Points], bounds: list[Bound]) -> None:
    """Add a baseline as a point; as a line, or in words, where it lies far to the side of all points."""
    name, at = row["name"], [row["metrics"][own] for own in axes]
    told = [_with_unit(data, own, value) for own, value in zip(axes, at, strict=True)]
    is_x_near, is_y_near = (
        _is_near(value, [v for own in points for v in getattr(own, axis)]) for value, axis in zip(at, "xy", strict=True)
    )
    if is_x_near and is_y_near:
        texts = [_told(name, row["metrics"], in_one_line(row["texts"], row["notes"]))]
        points.append(Points(name, "baseline", at[:1], at[1:], texts))
    elif is_y_near:
        bounds.append(Bound(f"{name} ({told[0]})", "y", at[1], "baseline"))
    elif is_x_near:
        bounds.append(Bound(f"{name} ({told[1]})", "x", at[0], "baseline"))
    else:
        points.append(Points(f"{name} is outside: {', '.join(told)}", "baseline", [], []))


def _with_unit(data: Data, name: str, value: float) -> str:
    unit = next((own["unit"] for own in data["metrics"] if own["name"] == name), "")
    return f"{figure_text(value)} {unit}".strip()


def _pair(data: Data, x: str | None, y: str | None) -> tuple[str, str]:
    known = [own["name"] for own in data["metrics"]]
    for name in (name for name in (x, y) if name is not None and name not in known):
        raise SearchError(f"'{name}' is no metric of this study ({', '.join(known)})")
    objectives = [own["metric"] for own in data["goals"]["objectives"]]
    order = list(dict.fromkeys([*objectives, *known]))
    up = y or next(name for name in order if name != x or len(order) == 1)
    across = x or next((name for name in order if name != up), up)
    return across, up


def titled(data: Data, name: str) -> str:
    """A metric with its unit, as the title of an axis."""
    unit = next((own["unit"] for own in data["metrics"] if own["name"] == name), "")
    plain = name.replace("_", " ")
    return f"{plain} [{unit}]" if unit else plain


def _clouds(data: Data, goals: Goals, formats: Sequence[str], x: str, y: str) -> list[Points]:
    """The trials that were measured: those that satisfy all constraints, and those that do not."""
    columns = _columns(data)
    is_measured = (np.array(data["trials"]["state"]) == 0) & np.isfinite(columns[x]) & np.isfinite(columns[y])
    is_within = is_measured & (goals.excess({name: columns[name] for name in goals.metrics}) <= 0)
    groups = [("networks", "cloud", is_within), ("violate a constraint", "violating", is_measured & ~is_within)]
    found = []
    for name, role, chosen in groups:
        places = np.flatnonzero(chosen)
        if len(places):
            texts = [_hover(data, place, formats) for place in places.tolist()]
            own = columns[x][places].tolist(), columns[y][places].tolist()
            found.append(Points(f"{len(places):,} {name}", role, *own, texts))  # type: ignore[arg-type]
    return found


def _columns(data: Data) -> dict[str, Floats]:
    return {name: np.array(own, np.float64) for name, own in data["trials"]["metrics"].items()}


def _hover(data: Data, place: int, formats: Sequence[str]) -> str:
    metrics = {name: own[place] for name, own in data["trials"]["metrics"].items()}
    is_told = place < len(formats)
    return _told(f"trial {data['trials']['number'][place]}", metrics, formats[place] if is_told else "")


def _told(title: str, metrics: Mapping[str, float | None], formats: str) -> str:
    """Lines about a network: its title, each metric, the formats of each layer."""
    figures = [f"{name}: {figure_text(value)}" for name, value in metrics.items() if value is not None]
    layers = formats.split("; ") if formats else []
    more = [f"… and {len(layers) - MOST_LAYERS_IN_HOVER} more"] if len(layers) > MOST_LAYERS_IN_HOVER else []
    return "\n".join([title, *figures, *layers[:MOST_LAYERS_IN_HOVER], *more])


def _exact(data: Data, x: str, y: str) -> list[Points]:
    rows = sorted((own["metrics"][x], own["metrics"][y]) for own in data["exact"] if {x, y} <= set(own["metrics"]))
    if not rows:
        return []
    return [Points("exact front", "exact", *_two(rows), line=_is_of(data, x, y))]


def _two(rows: Sequence[tuple[float, float]]) -> tuple[list[float], list[float]]:
    return [a for a, _ in rows], [b for _, b in rows]


def _is_of(data: Data, x: str, y: str) -> bool:
    """Whether these two metrics are all objectives, so that a line along the front means something."""
    return {own["metric"] for own in data["goals"]["objectives"]} == {x, y}


def _front(data: Data, x: str, y: str) -> list[Points]:
    rows = along(data, x, {x, y})
    if not rows:
        return []
    at = _two([(row["metrics"][x], row["metrics"][y]) for row in rows])
    texts = [
        _told(f"trial {row['trial']}", {**row["metrics"], **_tests(row)}, in_one_line(row["texts"], row["notes"]))
        for row in rows
    ]
    is_front = all(row["within"] for row in rows)
    name, line = ("front", _is_of(data, x, y)) if is_front else ("nearest to the constraints", False)
    found = [Points(name, "front", *at, texts, [str(row["trial"]) for row in rows], line)]
    return [*found, *_intervals(rows, x, y)]


def _intervals(rows: Sequence[Data], x: str, y: str) -> list[Points]:
    """The test scores of the front with their intervals: those of `y`, or of `x` where only that was tested."""
    name = y if any(y in row["test"] for row in rows) else x
    tested = [(row["metrics"][x], row["metrics"][y], *row["test"][name]) for row in rows if name in row["test"]]
    if not (known := [own for own in tested if None not in own]):
        return []
    across, up, value, low, high = np.array(known, np.float64).T.tolist()
    at = (across, value) if name == y else (value, up)
    return [Points("test set, 95 %", "other", *at, low=low, high=high, is_across=name != y)]


def _tests(row: Data) -> dict[str, float]:
    return {f"{name}, test set": own[0] for name, own in row["test"].items()}


def _is_near(value: float, values: Sequence[float]) -> bool:
    """Whether a value lies so near to all others that showing both leaves these room enough."""
    if not values:
        return True
    width = (max(values) - min(values)) or 1.0
    return min(values) - width < value < max(values) + width


def along(data: Data, x: str, needed: set[str]) -> list[Data]:
    """The networks of the front that have the metrics `needed`, by the metric `x`."""
    return sorted((row for row in data["front"] if needed <= set(row["metrics"])), key=lambda row: row["metrics"][x])


def history_picture(data: Data) -> Steps:
    """The best value of each objective so far, by evaluation. Raises SearchError without a log of trials."""
    past = _history(data)
    panels = [(titled(data, name), _numbers(own)) for name, own in past["best"].items()]
    return Steps("evaluations", past["evaluations"], panels)


def hypervolume_picture(data: Data) -> Steps:
    """The hypervolume of the front so far, by evaluation. Raises SearchError for a search with one objective."""
    past = _history(data)
    if "hypervolume" not in past:
        raise SearchError("a hypervolume needs two objectives; plot_history shows the best value so far")
    return Steps("evaluations", past["evaluations"], [("hypervolume", _numbers(past["hypervolume"]))])


def _history(data: Data) -> Data:
    past: Data = data["history"]
    if len(past.get("evaluations", ())) < 2:
        raise SearchError(f"there is no history: {_why_no_history(data)}")
    return past


def _why_no_history(data: Data) -> str:
    if len(data["trials"]["number"]) < 2:
        return "it needs two measured trials, and the study has one"
    if not all(row["within"] for row in data["front"]):
        return "no trial satisfies all constraints"
    return "the search ran block by block, without a log of its trials"


def _numbers(values: Sequence[float | None]) -> list[float]:
    return [nan if value is None else value for value in values]


def parallel_picture(data: Data) -> Parallel:
    """Every measured trial as a line across its choices and metrics, coloured by the first objective.

    Raises SearchError where the records have no choices.
    """
    codes, columns, axes = data["trials"]["codes"], _columns(data), _free_axes(data)
    first = data["goals"]["objectives"][0]["metric"]
    places = np.flatnonzero((np.array(data["trials"]["state"]) == 0) & np.isfinite(columns[first]))
    by_choice = [
        Axis(key_title(own["key"]), np.array(codes[own["key"]])[places].tolist(), [*map(str, own["values"])])
        for own in axes
    ]
    goals = [own["metric"] for own in data["goals"]["objectives"]]
    by_metric = [Axis(titled(data, name), columns[name][places].tolist()) for name in goals]
    return Parallel([*by_choice, *by_metric], len(by_choice))


def _free_axes(data: Data) -> list[Data]:
    """The axes of the space with more than one value. Raises SearchError where the records have none."""
    codes = data["trials"]["codes"]
    axes = [own for own in data["choices"] if len(own["values"]) > 1 and own["key"] in codes]
    if not axes:
        raise SearchError("there are no choices to show: the space has one point, or the search ran block by block")
    return axes


def key_title(key: str) -> str:
    """A key of a space for people.

    >>> key_title("fc/config/weight_width")
    'fc w width'
    """
    node, _, own = key.rpartition("/config/")
    for operand, short in OPERAND_NAMES.items():
        own = own.replace(f"{operand}_", f"{short} ", 1)
    return f"{node} {own.replace('_', ' ')}".strip()


def layers_picture(row: Data) -> HeatMap:
    """The bits of each operand of each layer of one network. Raises SearchError for one without formats."""
    cells = {node: own for node, own in row["cells"].items() if own}
    operands = [own for own in OPERAND_NAMES if any(own in of_node for of_node in cells.values())]
    if not operands:
        raise SearchError(f"trial {row['trial']}: no layer has a format")
    found = [[cells[node].get(operand, ("", None)) for operand in operands] for node in cells]
    hovers = [
        [f"{node} {operand}\n{own[0]}" if own[0] else "" for operand, own in zip(operands, line, strict=True)]
        for node, line in zip(cells, found, strict=True)
    ]
    columns = [OPERAND_NAMES.get(own, own) for own in operands]
    bits = [[_bits(own) for own in line] for line in found]
    return HeatMap(
        f"trial {row['trial']}", columns, [*cells], bits, [[own[0] for own in line] for line in found], "bits", hovers
    )


def front_layers_picture(data: Data) -> HeatMap:
    """The bits of each operand of each layer, network after network along the front.

    Raises SearchError where no network has formats.
    """
    across, _ = _pair(data, None, None)
    rows = along(data, across, {across})
    rows = [rows[place] for place in np.unique(np.linspace(0, len(rows) - 1, MOST_NETWORKS).round().astype(int))]
    slots = list(dict.fromkeys((node, own) for row in rows for node, cells in row["cells"].items() for own in cells))
    if not slots:
        raise SearchError("no layer of the front has a format")
    found = [[row["cells"].get(node, {}).get(own, ("", None)) for row in rows] for node, own in slots]
    bits = [[_bits(own) for own in line] for line in found]
    names = [f"{node} {OPERAND_NAMES.get(own, own)}" for node, own in slots]
    hovers = [
        [f"trial {row['trial']}\n{name}: {own[0]}" for row, own in zip(rows, line, strict=True)]
        for name, line in zip(names, found, strict=True)
    ]
    texts = [[f"{value:g}" if isfinite(value) else "" for value in line] for line in bits]
    columns = [str(row["trial"]) for row in rows]
    return HeatMap("trial, along the front", columns, names, bits, texts, "bits", hovers)


def _bits(cell: Sequence[Any]) -> float:
    return nan if cell[1] is None else float(cell[1])


def importance_picture(data: Data) -> Bars:
    """The share of each goal's variance that each choice explains by itself, and what is left for their interactions.

    Raises SearchError, with the reason, where the record has no such shares.
    """
    if not data["importance"]:
        raise SearchError(data["why_no_importance"])
    panels = []
    for own in data["importance"]:
        shares = [(key_title(key), share) for key, share in own["shares"].items()]
        others = shares[MOST_BARS:]
        if others:
            shares[MOST_BARS:] = [(f"{len(others)} other choices", sum(share for _, share in others))]
        panels.append((own["metric"].replace("_", " "), [*shares, ("interactions and noise", own["rest"])]))
    note = IMPORTANCE_NOTE.format(trials=max(own["trials"] for own in data["importance"]))
    return Bars("share of the variance, all values equally likely", panels, note)


def correlation_picture(data: Data) -> HeatMap:
    """The rank correlation of all pairs of metrics. Raises SearchError where too few trials were measured."""
    found = data["correlations"]
    if not found:
        raise SearchError(
            f"correlations need a log of at least {LEAST_TRIALS} measured trials, and two metrics that differ in them"
        )
    names = [name.replace("_", " ") for name in found["metrics"]]
    values = [_numbers(line) for line in found["values"]]
    texts = [[f"{value:.2f}" if isfinite(value) else "" for value in line] for line in values]
    return HeatMap("rank correlation", names, names, values, texts, "correlation")
