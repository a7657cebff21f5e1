"""Runners: what a search measures."""

from chop.actions.search.strategies.runners.base import (
    RUNNERS,
    AnalyticRunner,
    HWRunnerBase,
    Metric,
    ModelRunner,
    OutputRunner,
    Plans,
    RunnerBase,
    SWRunnerBase,
)

__all__ = [
    "RUNNERS",
    "AnalyticRunner",
    "HWRunnerBase",
    "Metric",
    "ModelRunner",
    "OutputRunner",
    "Plans",
    "RunnerBase",
    "SWRunnerBase",
]
