"""Curves of a metric against a choice or another metric, from the records of searches."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from chop.errors import SearchError, did_you_mean
from chop.record.folder import SearchFolder
from chop.record.summary import MetricFacts, SearchSummary
from chop.report.compare_plot_parts import spelled
from chop.report.html.layers import node_configs
from chop.report.plots.pictures import Curve, Curves, Place
from chop.scoring.intervals import SHARES, wilson_interval

FLOAT = "float32"


@dataclass(frozen=True)
class _Network:
    """A network of the group `label`, with the value `own` of what curves are drawn by."""

    label: str
    own: Any
    tuned: bool
    x: float
    y: float


def curves(searches: Mapping[str, Sequence[SearchFolder]], x: str, y: str | None, by: str | None) -> Curves:
    """The curves of searches by the name that each group of them has in the picture.

    `x` and `by` are keys of the layers (`weight_width`, `name`), which all layers of a network must share, or metrics;
    `y` is a metric (None: the first objective). Searches of one group are drawn together, as one with several seeds.
    Raises SearchError for what no network has, and where the layers of a network differ in a key.
    """
    files = [own for group in searches.values() for own in group]
    summaries = [own.summary for own in files]
    up = y or summaries[0].goals.objectives[0].metric
    found = [
        network
        for name, group in searches.items()
        for own in group
        for network in _networks(own, name if len(searches) > 1 else "", x, up, by)
    ]
    if not found:
        raise SearchError(f"no network has both '{x}' and '{up}'")
    facts = summaries[0].metrics.get(up)
    samples = facts.samples if facts is not None and up in SHARES else 0
    drawn = tuple(_curves(found, samples, by or ""))
    return Curves(spelled(x), spelled(up), drawn, _baseline(summaries, up), _title(summaries, facts, drawn))


def _networks(files: SearchFolder, label: str, x: str, y: str, by: str | None) -> Iterator[_Network]:
    """The networks of a search: those that it measured, and those that were tuned afterwards."""
    configs = {row["number"]: node_configs(row["sampled_config"]) for row in files.rows()}
    measured = {trial.number: trial.metrics for trial in files.trials() if trial.counts and trial.repeats is None}
    tuned = {number: {**own.software_metrics, **own.hardware_metrics} for number, own in files.tuned().items()}
    _require_known((x, y, *([by] if by else [])), configs.values(), [*measured.values(), *tuned.values()])
    for is_tuned, metrics_of in ((False, measured), (True, tuned)):
        for number, metrics in metrics_of.items():
            across = _value(x, metrics, configs[number], number)
            if isinstance(across, (int, float)) and y in metrics:
                own = None if by is None else _value(by, metrics, configs[number], number)
                yield _Network(label, own, is_tuned, float(across), metrics[y])


def _require_known(
    names: Iterable[str], configs: Iterable[Mapping[str, Mapping[str, Any]]], metrics: Iterable[Mapping[str, float]]
) -> None:
    keys = {key for nodes in configs for config in nodes.values() for key in config}
    known = sorted({*keys, *(name for own in metrics for name in own)})
    for name in names:
        if name not in known:
            raise SearchError(f"no network has '{name}'{did_you_mean(name, known)} (known: {', '.join(known)})")


def _value(key: str, metrics: Mapping[str, float], nodes: Mapping[str, Mapping[str, Any]], number: int) -> Any:
    """A metric, or what all layers that have a key share; None where no layer has it."""
    if key in metrics:
        return metrics[key]
    values = [own[key] for own in nodes.values() if key in own]
    if any(value != values[0] for value in values):
        raise SearchError(
            f"'{key}' is not the same in all layers of trial {number}: choose a metric (average_bitwidth, say), or "
            'search with the strategy "uniform"'
        )
    return values[0] if values else None


def _text(value: Any, by: str) -> str:
    """The value of `by` in a legend; a number says what it is the value of."""
    if value is None:
        return ""
    if isinstance(value, str):
        return FLOAT if value == "NA" else value
    return f"{spelled(by)} {value:g}" if isinstance(value, (int, float)) else f"{spelled(by)} {value}"


def _or_zero(value: Any) -> Any:
    return 0 if value is None else value


def _curves(found: Sequence[_Network], samples: int, by: str) -> Iterator[Curve]:
    """Curves by values of `by`, in the order of the groups, and in each by value, first of numbers."""
    labels = list(dict.fromkeys(own.label for own in found))
    groups: dict[tuple[str, Any, bool], dict[float, list[float]]] = defaultdict(lambda: defaultdict(list))
    for one in found:
        groups[one.label, one.own, one.tuned][one.x].append(one.y)
    order = sorted(groups, key=lambda key: (labels.index(key[0]), isinstance(key[1], str), _or_zero(key[1]), key[2]))
    for label, own, tuned in order:
        places = [_place(x, values, samples) for x, values in sorted(groups[label, own, tuned].items())]
        yield Curve(", ".join(filter(None, [label, _text(own, by)])), tuned, tuple(places))


def _place(x: float, values: Sequence[float], samples: int) -> Place:
    middle = median(values)
    interval = wilson_interval(round(middle * samples), samples)[1:] if samples else None
    return Place(x, min(values), middle, max(values), len(values), interval)


def _baseline(summaries: Sequence[SearchSummary], y: str) -> float | None:
    values = {own.fp32.trial.metrics.get(y) for own in summaries if own.fp32}
    return values.pop() if len(values) == 1 else None


def _title(summaries: Sequence[SearchSummary], facts: MetricFacts | None, drawn: Sequence[Curve]) -> str:
    """The model, the data, the samples, the seeds, and what bars and bands are."""
    places = [place for own in drawn for place in own.places]
    most = max(place.networks for place in places)
    origin = summaries[0].origin
    tunings = [own.finish.options.get("seed", 0) for own in summaries if own.finish]
    seeds = sorted(set(tunings) or {own.origin.seed for own in summaries})
    samples = facts.told_samples if facts is not None else ""
    said = [origin.model, origin.data.partition(":")[0], samples]
    said += [f"{'tuned with ' if tunings else ''}seed{'s' if len(seeds) > 1 else ''} {', '.join(map(str, seeds))}"]
    bars = "bars: 95 % interval by the number of samples" if any(own.interval for own in places) else ""
    band = f"bands: from the lowest to the highest of up to {most} networks" if most > 1 else ""
    return "\n".join(filter(None, [", ".join(filter(None, said)), "; ".join(filter(None, [bars, band]))]))
