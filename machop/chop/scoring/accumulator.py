"""Accumulators: take outputs and targets batch by batch, and keep only what their metrics need."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from chop.errors import ChopError, MetricError
from chop.scoring.bounds import SampleValues
from chop.scoring.intervals import Interval, mean_interval, without_interval
from chop.tools.user_code import place_in


class Accumulator(ABC):
    """Computes the metrics of one network from outputs that come in any number of batches."""

    @abstractmethod
    def update(self, outputs: Tensor, targets: Tensor) -> None:
        """Take the outputs `(samples, …)` for some more samples, and their targets `(samples, …)`."""

    @abstractmethod
    def result(self) -> dict[str, float]:
        """The metrics on all samples so far; more may follow.

        Raises MetricError, with those that can be had in its `found`, where one fails.
        """

    def intervals(self) -> dict[str, Interval]:
        """The metrics with the bounds of their 95 % intervals, `(value, low, high)`; NaN where nothing is known."""
        return {name: without_interval(value) for name, value in self.result().items()}

    def sample_values(self) -> dict[str, SampleValues]:
        """The values, sample by sample, of metrics that are means over samples; early stopping can bound these."""
        return {}

    @property
    def keeps_outputs(self) -> bool:
        """Whether it keeps all outputs, since a metric needs them at once; known after the first `update`."""
        return False


class SampleMeans(Accumulator):
    """Means over samples of what `values` returns for outputs and targets: `{metric: (samples,)}`."""

    def __init__(self, values: Callable[[Tensor, Tensor], Mapping[str, Tensor]]) -> None:
        self._values_of = values
        self._values: dict[str, list[Tensor]] = {}

    def update(self, outputs: Tensor, targets: Tensor) -> None:
        for name, values in self._called(outputs, targets).items():
            if not isinstance(values, Tensor) or values.shape != (len(targets),):
                what = tuple(values.shape) if isinstance(values, Tensor) else type(values).__name__
                raise ChopError(
                    f"the task returned {what} for '{name}' of {len(targets)} samples; it must be one each: "
                    f"outputs are {tuple(outputs.shape)}, targets {tuple(targets.shape)}"
                )
            self._values.setdefault(name, []).append(values.detach())

    def _called(self, outputs: Tensor, targets: Tensor) -> Mapping[str, Tensor]:
        try:
            return self._values_of(outputs, targets)
        except ChopError:
            raise
        except Exception as error:  # of a task of the user's own
            where = place_in(self._values_of, error)
            raise ChopError(f"the task failed{where}: {type(error).__name__}: {error}") from error

    def result(self) -> dict[str, float]:
        return {name: float(torch.cat(parts).mean(dtype=torch.float64)) for name, parts in self._values.items()}

    def intervals(self) -> dict[str, Interval]:
        return {name: mean_interval(torch.cat(parts).double()) for name, parts in self._values.items()}

    def sample_values(self) -> dict[str, SampleValues]:
        return {name: SampleValues(torch.cat(parts)) for name, parts in self._values.items()}


class Together(Accumulator):
    """Several accumulators as one."""

    def __init__(self, parts: Sequence[Accumulator]) -> None:
        self.parts = tuple(parts)

    def update(self, outputs: Tensor, targets: Tensor) -> None:
        for part in self.parts:
            part.update(outputs, targets)

    def result(self) -> dict[str, float]:
        found: dict[str, float] = {}
        failure: MetricError | None = None
        for part in self.parts:
            try:
                found |= part.result()
            except MetricError as error:
                found |= error.found
                failure = failure or error
        if failure:
            raise MetricError(str(failure), found) from failure
        return found

    def intervals(self) -> dict[str, Interval]:
        return {name: interval for part in self.parts for name, interval in part.intervals().items()}

    def sample_values(self) -> dict[str, SampleValues]:
        return {name: values for part in self.parts for name, values in part.sample_values().items()}

    @property
    def keeps_outputs(self) -> bool:
        return any(part.keeps_outputs for part in self.parts)


def held_bytes(held: Any) -> int:
    """The bytes of all tensors that an accumulator holds, or a list, a dictionary or another object within it."""
    if isinstance(held, Tensor):
        return held.nbytes
    if isinstance(held, (list, tuple)):
        return sum(map(held_bytes, held))
    if isinstance(held, dict):
        return sum(map(held_bytes, held.values()))
    return sum(map(held_bytes, vars(held).values())) if isinstance(held, Accumulator) else 0
