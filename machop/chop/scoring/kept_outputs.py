"""Accumulates metrics that need all outputs at once, and the user's own metrics that stream."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from chop.errors import MetricError
from chop.scoring.accumulator import Accumulator
from chop.scoring.intervals import Interval, bootstrap_interval
from chop.scoring.outputs import joined_outputs
from chop.scoring.own_functions import as_one_number, call_metric, on_one_shape
from chop.tools.user_code import place_in


class KeptOutputs(Accumulator):
    """Keeps all outputs and targets, for `functions` of them by name and whoever else sets `is_needed`."""

    def __init__(self, functions: Mapping[str, Callable[..., Any]] | None = None) -> None:
        self.functions = dict(functions or {})
        self.is_needed = bool(self.functions)
        self._outputs: list[Tensor] = []
        self._targets: list[Tensor] = []

    def update(self, outputs: Tensor, targets: Tensor) -> None:
        if self.is_needed:
            self._outputs.append(outputs.detach())
            self._targets.append(targets)

    def joined(self) -> tuple[Tensor, Tensor]:
        """The outputs and the targets of all samples so far."""
        if len(self._targets) > 1:
            self._outputs = [joined_outputs(self._outputs, [len(own) for own in self._targets])]
            self._targets = [torch.cat(self._targets)]
        return self._outputs[0], self._targets[0]

    def result(self) -> dict[str, float]:
        found: dict[str, float] = {}
        failure: MetricError | None = None
        for name, function in self.functions.items():
            try:
                found[name] = call_metric(function, name, *self.joined())
            except MetricError as error:
                failure = failure or error
        if failure:
            raise MetricError(str(failure), found) from failure
        return found

    def intervals(self) -> dict[str, Interval]:
        return {name: self.interval(function, name) for name, function in self.functions.items()}

    def interval(self, function: Callable[..., Any], name: str) -> Interval:
        """The result of a function for all samples, with its bootstrap interval."""
        outputs, targets = self.joined()
        value = call_metric(function, name, outputs, targets)
        return bootstrap_interval(
            value, name, len(targets), lambda rows: _call_or_nan(function, outputs[rows], targets[rows])
        )

    @property
    def keeps_outputs(self) -> bool:
        return self.is_needed


class OwnStream(Accumulator):
    """A metric of the data that takes outputs batch by batch: an object with `update(outputs, targets)`, `result()`.

    One that fails on a batch has failed for good: `result` says why, and other metrics go on.
    """

    def __init__(self, name: str, metric: Any) -> None:
        self.name = name
        self.metric = metric
        self._failure: MetricError | None = None

    def update(self, outputs: Tensor, targets: Tensor) -> None:
        if self._failure is None:
            try:
                self.metric.update(outputs, targets)
            except Exception as error:
                self._failure = self._named(error)

    def result(self) -> dict[str, float]:
        if self._failure is not None:
            raise self._failure
        try:
            found = self.metric.result()
        except Exception as error:
            raise self._named(error) from error
        return {self.name: as_one_number(found, self.name)}

    def _named(self, error: Exception) -> MetricError:
        where = place_in(getattr(type(self.metric), "update", None), error)
        return MetricError(f"the metric '{self.name}' of the data failed{where}: {type(error).__name__}: {error}")


def _call_or_nan(function: Callable[..., Any], outputs: Tensor, targets: Tensor) -> float:
    """A metric of drawn samples, which may lack what it needs (a sample of each class, say)."""
    try:
        return float(on_one_shape(function, "metric", outputs, targets))
    except Exception:
        return math.nan
