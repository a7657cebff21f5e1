"""Collects what the page of a search shows, from the records of the search alone."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any, TypeVar

import numpy as np

from chop.errors import SearchError
from chop.record.folder import SearchFolder
from chop.record.front import Front
from chop.record.goals import Goals
from chop.record.landscape import Landscape
from chop.record.names import CONFIG_FILE, LANDSCAPE_FILE
from chop.record.summary import Origin, SearchSummary
from chop.record.trial import BestRow, TestMetrics, Trial
from chop.report.format_texts import layer_texts, shown_configs
from chop.report.html.config_parts import page_parts
from chop.report.html.importance import importances, why_no_importance
from chop.report.html.layers import axes_by_node, cells_of, node_configs
from chop.report.html.numbers import binned, column, correlations, history, rounded
from chop.report.html.running_search import progress_facts
from chop.report.search_report import facts_of, format_names, title_of

MOST_TRIALS = 50_000
"""Trials that a page holds; of more, those of the front and an even choice of the others."""

LITE_TRIALS = 2_000
BINS = (120, 80)
"""Cells of the picture of a density, across and up."""

MOST_PAIRS = 6
"""Metrics whose pairs have a picture of the density of an exhaustive search."""

Json = dict[str, Any]
Found = TypeVar("Found")


def search_data(
    files: SearchFolder, lite: bool = False, summary: SearchSummary | None = None, notes: Sequence[str] = ()
) -> Json:
    """The data of the page of a search, as JSON. With `lite` they hold few of very many trials.

    `summary` is that of a search that has not ended (`running_summary`). `notes` stand at the top of the page, and
    behind them what is damaged and was left out. Raises SearchError for a search that has not ended where `summary` is
    None, and where what is damaged cannot be left out.
    """
    is_running, summary = summary is not None, summary or files.summary
    notes = [*notes, *files.log_problems()]
    trials = files.trials() if files.is_by_trial or not is_running else [row.trial for row in summary.best]
    choices = _choices(files)
    named = len({*format_names(summary), *_chosen_formats(choices)}) > 1
    shown, epochs = _networks(_shown(trials, summary, LITE_TRIALS if lite else MOST_TRIALS), summary)
    landscape = _unless_damaged(notes, lambda: _landscape(files))
    is_trained = summary.of_training and not is_running
    trained = _unless_damaged(notes, lambda: _trained(files, shown, named)) if is_trained else {}
    toml = _unless_damaged(notes, lambda: files.resolved)
    if toml is None and summary.origin.command and not (files.path / CONFIG_FILE).is_file():
        notes.append(f"{files.path / CONFIG_FILE} is gone: the commands of this page need it")
    measured = [name for row in summary.best for name in row.trial.metrics]
    names = list(dict.fromkeys([*summary.goals.metrics, *summary.metrics, *measured]))
    columns = {name: column(shown, name) for name in names}
    counted = [trial for trial in trials if trial.counts]
    importance = _importances(counted, choices, summary.goals.metrics) if files.is_by_trial else []
    return {
        "kind": "search",
        "title": title_of(summary),
        "running": is_running,
        "notes": notes,
        "name": files.path.parent.parent.name if files.path.name == "search_ckpts" else files.path.name,
        "folder": str(files.path),
        "facts": progress_facts(summary, files.is_by_trial) if is_running else facts_of(summary),
        "goals": _goals(summary),
        "metrics": _metrics(summary, names),
        "choices": [
            {"key": key, "node": node, "own": own, "values": [_plain(value) for value in choices[key]]}
            for key, node, own in axes_by_node(choices)
        ],
        "configs": page_parts(files.header.values.get("configs", {}), summary.layers),
        "trials": {**_trials(shown, columns, choices, files), "tuned": epochs},
        "tuned": sorted(_unless_damaged(notes, files.tuned) or ()) if any(epochs) else [],
        "measured": summary.counts.measured + summary.counts.inherited,
        "named": named,
        "trained": trained or {},
        "front": [{**network_row(row, summary, named), "running": is_running} for row in summary.best],
        "baselines": [{"name": name, **network_row(row, summary, named)} for name, row in summary.baselines.items()],
        "exact": _exact(landscape, summary, names),
        "density": _densities(landscape, summary.goals, names),
        "layers": [asdict(layer) for layer in summary.layers],
        "history": history(trials, summary.goals) if files.is_by_trial else {},
        "importance": importance,
        "why_no_importance": "" if importance else _why_no_importance(files, counted, choices, summary.goals.metrics),
        "correlations": correlations({name: column(counted, name) for name in names}) if files.is_by_trial else {},
        "provenance": [["strategy", summary.strategy], *provenance(summary.origin), *_times(summary)],
        "toml": toml or "",
        "has_test": any(row.test_metrics for row in summary.best),
    }


def _importances(
    trials: Sequence[Trial], choices: Mapping[str, Sequence[Any]], metrics: Iterable[str]
) -> list[dict[str, Any]]:
    """For each metric how much depends on each choice, where that can be told."""
    return [found for name in metrics if (found := importances(trials, choices, name))]


def _why_no_importance(
    files: SearchFolder, trials: Sequence[Trial], choices: Mapping[str, Sequence[Any]], metrics: Sequence[str]
) -> str:
    if not files.is_by_trial:
        return "importance needs a log of trials, and the search ran block by block"
    return why_no_importance(trials, choices, metrics)


def _choices(files: SearchFolder) -> Mapping[str, Sequence[Any]]:
    found = files.header.values.get("choices", {})
    return found if isinstance(found, Mapping) else {}


def _chosen_formats(choices: Mapping[str, Sequence[Any]]) -> set[str]:
    """The names of all formats that the layers of a space choose from."""
    return {str(name) for key, _, own in axes_by_node(choices) if own == "name" for name in choices[key]} - {"NA"}


def _shown(trials: Sequence[Trial], summary: SearchSummary, most: int) -> list[Trial]:
    """The trials of the page in their order: all, or those of the front and an even choice of the others."""
    kept = [trial for trial in trials if trial.repeats is None]
    if len(kept) <= most:
        return kept
    best = {row.trial.number for row in summary.best}
    step = len(kept) / most
    places = {int(place * step) for place in range(most)}
    return [trial for place, trial in enumerate(kept) if place in places or trial.number in best]


def _networks(trials: Sequence[Trial], summary: SearchSummary) -> tuple[list[Trial], list[int]]:
    """The networks of the page, and for how many epochs each was tuned: trials as measured, then the best as tuned."""
    completed = {row.trial.number: row.searched for row in summary.best}
    tuned = [(row.trial, row.finished.epochs) for row in summary.best if row.finished]
    found = [(completed.get(trial.number, trial), 0) for trial in trials] + tuned
    return [trial for trial, _ in found], [epochs for _, epochs in found]


def _goals(summary: SearchSummary) -> Json:
    goals = summary.goals
    return {
        "objectives": [
            {"metric": own.metric, "direction": "minimize" if own.turn > 0 else "maximize"} for own in goals.objectives
        ],
        "constraints": [
            {"metric": own.metric, "kind": own.kind, "bound": own.bound, "text": own.explained()}
            for own in goals.constraints
        ],
        "sum": goals.sum_direction,
    }


def _metrics(summary: SearchSummary, names: Sequence[str]) -> list[Json]:
    facts = summary.metrics
    return [
        {
            "name": name,
            "unit": facts[name].unit,
            "direction": facts[name].direction,
            "samples": facts[name].told_samples,
        }
        if name in facts
        else {"name": name, "unit": "", "direction": None}
        for name in names
    ]


def _for_toml(value: Any) -> Any:
    return list(map(_plain, value)) if isinstance(value, (list, tuple)) else _plain(value)


def _plain(value: Any) -> Any:
    return value if isinstance(value, (int, float, str, bool)) or value is None else str(value)


def _trials(
    trials: Sequence[Trial], columns: Mapping[str, Any], choices: Mapping[str, Sequence[Any]], files: SearchFolder
) -> Json:
    """The trials in columns: numbers, metrics, the choice on each key (null: none), states, seconds."""
    if not files.is_by_trial and not any(trial.point for trial in trials):
        choices = {}
    return {
        "number": [trial.number for trial in trials],
        "metrics": {name: rounded(values) for name, values in columns.items()},
        "codes": {key: [trial.point.get(key, 0) for trial in trials] for key in choices},
        "state": [_state(trial) for trial in trials],
        "failed": {trial.number: trial.failed for trial in trials if trial.failed},
        "seconds": rounded([trial.seconds for trial in trials]),
    }


def _state(trial: Trial) -> int:
    """0: measured, 1: stopped early, 2: failed."""
    return 2 if trial.failed else 1 if trial.stopped_at is not None else 0


def network_row(row: BestRow, summary: SearchSummary, named: bool = False) -> Json:
    """A network of the front, or a baseline: figures, formats by layer (by name as well, if `named`), its config."""
    return {
        "trial": row.trial.number,
        "metrics": {name: rounded([value])[0] for name, value in row.trial.metrics.items()},
        "test": _tests(row.test_metrics),
        "equal": len(row.equals) + row.equal_points,
        **formats_of(row, named),
        "tuned": row.finished.epochs if row.finished else 0,
        "within": summary.goals.is_within(row.trial.metrics) if row.trial.number >= 0 else True,
    }


def formats_of(row: BestRow, named: bool) -> Json:
    """The formats of a network by layer, as text and as cells, and as a config."""
    configs, shown = node_configs(row.sampled_config), shown_configs(row.sampled_config, row.frac_widths)
    texts, notes = layer_texts(row.sampled_config, named, row.frac_widths)
    return {
        "texts": texts,
        "notes": notes,
        "cells": {
            node: {operand: [own.text, own.bits] for operand, own in cells_of(shown[node]).items()} for node in configs
        },
        "config": {node: {key: _for_toml(value) for key, value in config.items()} for node, config in configs.items()},
    }


def _trained(files: SearchFolder, trials: Sequence[Trial], named: bool) -> dict[int, Json]:
    """The formats of the networks of a training, by trial, as the rows of its search hold them."""
    wanted = {trial.number: trial for trial in trials}
    return {
        number: formats_of(BestRow(wanted[number], (), row["sampled_config"]), named)
        for row in files.rows()
        if (number := row["number"]) in wanted
    }


def _tests(tests: TestMetrics | None) -> Json:
    return {name: rounded(list(interval)) for name, interval in (tests or {}).items()}


def _landscape(files: SearchFolder) -> Landscape | None:
    return files.landscape() if (files.path / LANDSCAPE_FILE).is_file() else None


def _unless_damaged(notes: list[str], read: Callable[[], Found | None]) -> Found | None:
    """The content of a file; None where it is damaged, which becomes a note."""
    try:
        return read()
    except SearchError as error:
        notes.append(str(error))
        return None


def _exact(landscape: Landscape | None, summary: SearchSummary, names: Sequence[str]) -> list[Json]:
    """The points of the exact front, from the table of this search, or else as the table of another search told it."""
    known = _front_of_table(landscape, summary.goals) or summary.exact_front
    return [
        {"point": number, "metrics": {name: rounded([own[name]])[0] for name in names if name in own}}
        for number, own in known.items()
    ]


def _front_of_table(landscape: Landscape | None, goals: Goals) -> dict[int, dict[str, float]]:
    """The metrics of the exact front; empty where the space was not measured whole, or a metric is missing."""
    if landscape is None or any(name not in landscape.metrics for name in goals.metrics):
        return {}
    metrics = landscape.metrics
    index = np.flatnonzero(landscape.is_measured & (goals.excess(metrics) <= 0))
    if not len(index):
        return {}
    front = Front.of(goals.costs({name: values[index] for name, values in metrics.items()}), index)
    return {n: {name: float(values[n]) for name, values in metrics.items()} for n in front.index.tolist()}


def _densities(landscape: Landscape | None, goals: Goals, names: Sequence[str]) -> list[Json]:
    """How many points of the space lie in each cell of a grid, for pairs of metrics; empty without the table."""
    if landscape is None or landscape.size <= MOST_TRIALS:
        return []
    chosen = [name for name in dict.fromkeys([*goals.metrics, *names]) if name in landscape.metrics][:MOST_PAIRS]
    values = {name: landscape.metrics[name][landscape.is_measured].astype(np.float64) for name in chosen}
    across, up = ({name: binned(own, bins) for name, own in values.items()} for bins in BINS)
    found = []
    for place, x in enumerate(chosen):
        for y in chosen[place + 1 :]:
            counts = np.bincount(across[x].places * BINS[1] + up[y].places)
            cells = np.flatnonzero(counts)
            ends = rounded([*across[x].ends, *up[y].ends])
            pairs = [[cell, count] for cell, count in zip(cells.tolist(), counts[cells].tolist(), strict=True)]
            found.append({"x": x, "y": y, "range": ends, "bins": list(BINS), "cells": pairs})
    return found


def provenance(origin: Origin) -> list[list[str]]:
    """The origin of figures as pairs of a name and a text; what is not known is left out."""
    rows = [
        ["command", origin.command],
        ["model", origin.model],
        ["weights (checksum)", origin.weights],
        ["training", origin.training],
        ["data", origin.data],
        ["data (checksum)", origin.data_checksum],
        ["seed", str(origin.seed)],
        *([name, text] for name, text in origin.versions.items()),
    ]
    return [row for row in rows if row[1]]


def _times(summary: SearchSummary) -> list[list[str]]:
    rows = [["started", summary.started], ["ended", summary.ended], ["time of all trials", f"{summary.seconds:.3g} s"]]
    return [row for row in rows if row[1]]
