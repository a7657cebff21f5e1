"""The summary of a search that is still running, from its log alone, so that its page can be shown."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

import numpy as np

from chop.errors import SearchError
from chop.record.folder import SearchFolder
from chop.record.front import Front
from chop.record.goals import Goals
from chop.record.summary import MetricFacts, Origin, SearchSummary
from chop.record.trial import BestRow, Trial, TrialCounts


def running_summary(files: SearchFolder) -> SearchSummary:
    """What is known of a search before it ends: its trials, and the front of those so far.

    Raises SearchError where there is no log of trials, or no trial in it that has metrics.
    """
    if not files.is_by_trial:
        raise SearchError(f"{files.path}: the page follows searches that log every trial; this one runs block by block")
    values, trials = files.header.values, files.trials()
    goals = Goals.from_json(values["goals"])
    counted = [trial for trial in trials if trial.counts]
    if not counted:
        raise SearchError(f"{files.path}: no trial has been measured so far")
    directions = {own.metric: own.direction for own in goals.objectives}
    names = dict.fromkeys(name for trial in counted for name in trial.metrics)
    fingerprint = values.get("fingerprint", {})
    return SearchSummary(
        strategy=str(fingerprint.get("strategy", ["?"])[0]),
        goals=goals,
        origin=Origin(data=" ".join(map(str, fingerprint.get("dataset", []))), model=str(fingerprint.get("model", ""))),
        space_size=int(np.prod([float(len(own)) for own in values.get("choices", {}).values()])),
        counts=TrialCounts.of(trials),
        best=_front(counted, goals),
        reason="interrupted",
        metrics={name: MetricFacts("", directions.get(name, "maximize")) for name in names},
        seconds=sum(trial.seconds for trial in trials),
        started=str(values.get("started", "")),
        ended=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def _front(trials: Sequence[Trial], goals: Goals) -> list[BestRow]:
    """The trials that no other one dominates; where none satisfies all constraints, the nearest."""
    within = [trial for trial in trials if goals.is_within(trial.metrics)]
    if not within:
        excess = goals.excess({name: np.array([t.metrics[name] for t in trials]) for name in goals.metrics})
        return [BestRow(trials[int(excess.argmin())], (), {})]
    front = Front.of(goals.costs_of(within), np.arange(len(within)))
    return [BestRow(within[place], (), {}) for place in front.index.tolist()]
