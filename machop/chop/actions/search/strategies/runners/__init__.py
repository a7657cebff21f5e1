"""Runners: measure the metrics of configurations."""

from chop.actions.search.strategies.runners.base import (
    RUNNERS,
    AnalyticRunner,
    HWRunnerBase,
    ModelRunner,
    OutputRunner,
    RunnerBase,
    SWRunnerBase,
    TableRunner,
)
from chop.actions.search.strategies.runners.protocols import Plans
from chop.actions.search.strategies.runners.whole_plan import WholePlanRunner
from chop.scoring.metric import Metric

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
    "TableRunner",
    "WholePlanRunner",
]
