"""The outcome of measuring a point: its metrics, or the reason why it failed."""

from __future__ import annotations

from dataclasses import dataclass

from chop.errors import MetricError

Metrics = dict[str, float]


@dataclass(frozen=True)
class Measured:
    """The metrics of a point, those of `sw_runner` and those of `hw_runner`."""

    software: Metrics
    hardware: Metrics
    stopped_at: int | None = None
    """After how many samples early stopping ended the evaluation, if it did: the metrics are those on these."""

    @property
    def metrics(self) -> Metrics:
        """All metrics."""
        return {**self.software, **self.hardware}


Outcome = Measured | MetricError
