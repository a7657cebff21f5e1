"""The summary of a search that is still running, from its log alone, so that its page can be shown."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from math import prod
from typing import Any

import numpy as np

from chop.errors import SearchError
from chop.record.folder import SearchFolder
from chop.record.front import Front
from chop.record.goals import Goals
from chop.record.summary import MetricFacts, Origin, SearchSummary
from chop.record.trial import BestRow, Trial, TrialCounts


def running_summary(files: SearchFolder) -> SearchSummary:
    """The summary of a search before it ends: its trials or blocks, and their front so far.

    Raises SearchError where there is no log, or nothing in it that has metrics.
    """
    values = files.header.values
    goals = Goals.from_json(values["goals"])
    best, counts, seconds = _of_trials(files.trials(), goals) if files.is_by_trial else _of_blocks(files)
    if not best:
        what = "trial" if files.is_by_trial else "block of points"
        raise SearchError(f"{files.path}: no {what} has been measured so far")
    fingerprint = values.get("fingerprint", {})
    return SearchSummary(
        strategy=str(fingerprint.get("strategy", ["?"])[0]),
        goals=goals,
        origin=Origin(data=" ".join(map(str, fingerprint.get("dataset", []))), model=str(fingerprint.get("model", ""))),
        space_size=values.get("size") or prod(len(own) for own in values.get("choices", {}).values()),
        counts=counts,
        best=best,
        reason="interrupted",
        metrics=_metrics(values, goals, {name: None for row in best for name in row.trial.metrics}),
        seconds=seconds,
        started=str(values.get("started", "")),
        ended=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def _metrics(values: Mapping[str, Any], goals: Goals, measured: Iterable[str]) -> dict[str, MetricFacts]:
    """The facts of metrics as the runners state them; of an earlier chop's log those of the objectives alone."""
    stated = values.get("metrics")
    if stated is not None:
        return {name: MetricFacts(**stated[name]) for name in measured if name in stated}
    return {own.metric: MetricFacts("", own.direction) for own in goals.objectives}


def progress_facts(summary: SearchSummary, is_by_trial: bool) -> list[str]:
    """The progress and speed of a running search, in place of the facts about its end."""
    counts = summary.counts
    done = counts.measured + counts.repeats
    rate = done / summary.seconds if summary.seconds else 0.0
    if is_by_trial:
        return [f"{done:,} trials so far, {rate:,.3g} a second."]
    left = (summary.space_size - done) / rate if rate else 0.0
    share = f"{done:,} of {summary.space_size:,} points ({100 * done / summary.space_size:.1f} %)"
    return [f"{share} so far, {rate:,.0f} a second; about {left:,.0f} s are left for the whole space."]


def _of_trials(trials: Sequence[Trial], goals: Goals) -> tuple[list[BestRow], TrialCounts, float]:
    counted = [trial for trial in trials if trial.counts]
    best = _front(counted, goals) if counted else []
    return best, TrialCounts.of(trials), sum(trial.seconds for trial in trials)


def _front(trials: Sequence[Trial], goals: Goals) -> list[BestRow]:
    """The trials that no other one dominates; where none satisfies all constraints, the nearest."""
    within = [trial for trial in trials if goals.is_within(trial.metrics)]
    if not within:
        excess = goals.excess({name: np.array([t.metrics[name] for t in trials]) for name in goals.metrics})
        return [BestRow(trials[int(excess.argmin())], (), {})]
    front = Front.of(goals.costs_of(within), np.arange(len(within)))
    return [BestRow(within[place], (), {}) for place in front.index.tolist()]


def _of_blocks(files: SearchFolder) -> tuple[list[BestRow], TrialCounts, float]:
    """The same of a search block by block; the number of a point in the space is that of its trial."""
    found, choices = files.blocks(), files.header.values.get("choices", {})
    rows = [
        BestRow(Trial(index, _point(choices, found.codes.get(index)), metrics, {}, {}), (), {}, equal_points=count - 1)
        for index, count, metrics in found.rows()
    ]
    return rows, TrialCounts(found.points, 0, found.failed, 0, 0), found.seconds


def _point(choices: Mapping[str, Any], code: Sequence[int] | None) -> dict[str, int]:
    return {} if code is None else dict(zip(choices, code, strict=False))
