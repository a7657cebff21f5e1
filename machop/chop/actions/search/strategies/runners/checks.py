"""Checks what a runner declares, and what it returns: the metrics that it declares, one finite number each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

from chop.dataset.data import Data
from chop.errors import ChopError, MetricError, SearchError, first_line
from chop.scoring.metric import DIRECTIONS, Metric
from chop.tools.user_code import place_in

if TYPE_CHECKING:
    from chop.actions.search.strategies.runners.base import RunnerBase


def other_metrics(runner: str, found: Any, declared: Collection[str]) -> str:
    """The message for a runner that does not return the metrics that it declares."""
    said = ", ".join(sorted(declared))
    if not isinstance(found, Mapping):
        return f"runner {runner} returned a {type(found).__name__}; it must return {{metric: number}} for {said}"
    undeclared, missing = sorted(set(found) - set(declared), key=str), sorted(set(declared) - set(found))
    told = [f"returned {', '.join(map(repr, undeclared))}, which it does not declare"] if undeclared else []
    told += [f"did not return {', '.join(map(repr, missing))}, which it declares"] if missing else []
    return f"runner {runner} {' and '.join(told)}: its metrics_of names {said}; make the two agree"


def as_number(value: Any, metric: str, runner: str) -> float:
    """A metric as a float; raises SearchError for what is not one number."""
    is_one = isinstance(value, (int, float, np.number, np.bool_)) or (isinstance(value, Tensor) and value.numel() == 1)
    if not is_one or np.iscomplexobj(value):
        what = f"a tensor {tuple(value.shape)}" if isinstance(value, Tensor) else repr(value)
        raise SearchError(f"runner {runner} returned {what} for '{metric}'; a metric is one number")
    try:
        return float(value)
    except OverflowError:
        raise SearchError(
            f"runner {runner} returned a whole number beyond 1.8e308 for '{metric}', the largest that a metric can be"
        ) from None


def declared_metrics(runner: type[RunnerBase], data_module: Data | None) -> tuple[Metric, ...]:
    """The metrics that a runner declares, checked.

    Raises SearchError, naming the runner, for anything but metrics with different names.
    """
    name = runner.__name__
    try:
        found = tuple(runner.metrics_of(data_module))
    except ChopError:
        raise
    except Exception as error:  # of a plug-in's own code
        where = place_in(runner.metrics_of, error)
        raise SearchError(f"{name}.metrics_of failed{where}: {type(error).__name__}: {first_line(error)}") from error
    for metric in found:
        if not isinstance(metric, Metric) or not isinstance(metric.name, str) or not metric.name:
            raise SearchError(
                f'{name}.metrics_of returned {metric!r}; return Metric("name", "unit", "minimize") for each'
            )
        if metric.direction not in DIRECTIONS:
            raise SearchError(
                f"{name}.metrics_of: direction of '{metric.name}' must be one of {', '.join(DIRECTIONS)}, got "
                f"{metric.direction!r}"
            )
    twice = [name for name, times in Counter(metric.name for metric in found).items() if times > 1]
    if twice:
        raise SearchError(f"{name}.metrics_of declares {', '.join(map(repr, twice))} twice; give each metric one name")
    return found


def check_finite(metrics: Mapping[str, float], what: str) -> None:
    """Raise MetricError for a metric that is no finite number, which could not be compared."""
    for name, value in metrics.items():
        if not float("-inf") < value < float("inf"):
            raise MetricError(f"{what}: metric '{name}' is {value}; a metric must be a finite number")
