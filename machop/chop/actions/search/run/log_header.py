"""Collects what the log of a search says of itself at its start, so that it can be read before it ends."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from chop.actions.search.measuring.instruments import Instruments
from chop.actions.search.measuring.samples import samples_of
from chop.actions.search.search_space.base import SearchSpaceBase
from chop.record.goals import Goals
from chop.record.summary import MetricFacts


def log_header(space: SearchSpaceBase, instruments: Instruments, goals: Goals) -> dict[str, Any]:
    """The choices of a space with the configs that they lead to, the metrics and goals of a search, and its start."""
    return {
        "choices": space.parameters,
        "follows": space.followers,
        "configs": space.config_parts,
        "metrics": {name: asdict(facts) for name, facts in metric_facts(instruments).items()},
        "goals": goals.as_json(),
        "started": now(),
    }


def metric_facts(instruments: Instruments) -> dict[str, MetricFacts]:
    """The unit, the direction and the samples of every metric of the runners."""
    runners = instruments.runners
    left = {metric.name for runner in runners.left_to_the_best for metric in runner.metrics}
    samples = {runner: samples_of(runner, instruments.subject.data_module) for runner in runners.all}
    return {
        metric.name: MetricFacts(metric.unit, metric.direction, metric.name in left, *samples[runner])
        for runner in runners.all
        for metric in runner.metrics
    }


def now() -> str:
    """Date and time in ISO 8601."""
    return datetime.now(UTC).isoformat(timespec="seconds")
