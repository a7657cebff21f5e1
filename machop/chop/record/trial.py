"""A trial: one proposed point of a search space and its metrics."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from chop.scoring.metric import Direction


@dataclass(frozen=True)
class Trial:
    """Trial `number` proposed `point` ({parameter: index of the choice}).

    `repeats` is the number of the earlier trial whose point means the same network: its metrics were answered from
    the log. `failed` says why a trial has no metrics; `stopped_at` is the number of rows after which a candidate that
    could not win was given up: its metrics are those on these rows. `inherited` names the earlier search that a trial
    was taken over from. `seconds` have passed since the trial before it.
    """

    number: int
    point: Mapping[str, int]
    software_metrics: Mapping[str, float]
    hardware_metrics: Mapping[str, float]
    scaled_metrics: Mapping[str, float]
    seconds: float = 0.0
    repeats: int | None = None
    failed: str = ""
    stopped_at: int | None = None
    inherited: str = ""

    @property
    def counts(self) -> bool:
        """Whether it has its own metrics on all samples, so that it can be a result."""
        return self.repeats is None and not self.failed and self.stopped_at is None

    @property
    def metrics(self) -> dict[str, float]:
        """All metrics, unscaled."""
        return {**self.software_metrics, **self.hardware_metrics}


@dataclass(frozen=True)
class Objective:
    """An objective: a metric, times a scale, in a direction."""

    metric: str
    scale: float = 1.0
    direction: Direction = "maximize"

    @property
    def turn(self) -> int:
        """The factor that turns the unscaled metric so that less is better."""
        return (1 if self.direction == "minimize" else -1) * (1 if self.scale > 0 else -1)


@dataclass(frozen=True)
class FrontRow:
    """A trial that no other dominates, and the numbers of the other trials with equal objectives."""

    trial: Trial
    equals: tuple[int, ...] = field(default=())


TestMetrics = Mapping[str, tuple[float, float, float]]
"""Scores on the test set: `{name: (value, low, high)}` with the bounds of the 95 % interval."""


Position = int | Sequence[int]
"""Bits after the point; of an operand with a range for each channel the least and the greatest."""

MeasuredFracWidths = Mapping[str, Mapping[str, Position]]
"""Bits after the point from measured ranges, by node and operand."""


@dataclass(frozen=True)
class Finished:
    """How the network of a trial was tuned after the search, and its figures before.

    `searched` is the trial with the figures of the search, `searched_tests` are its test scores. `tuning` are the
    options of the training. `graph` is the path of the saved network below the folder of the search, `graph_sha256` its
    checksum.
    """

    searched: Trial
    tuning: Mapping[str, Any]
    graph: str
    graph_sha256: str
    seconds: float = 0.0
    searched_tests: TestMetrics | None = None

    @property
    def epochs(self) -> int:
        """The number of epochs."""
        return int(self.tuning["max_epochs"])


@dataclass(frozen=True)
class BestRow:
    """A row of a result: a trial, the trials equal to it, its config and, once measured, its test scores.

    Where the network was `finished`, the figures of `trial` and `test_metrics` are those of the tuned network.
    """

    trial: Trial
    equals: tuple[int, ...]
    sampled_config: Mapping[str, Any]
    test_metrics: TestMetrics | None = None
    equal_points: int = 0
    """How many points equal it that are not listed in `equals`: an enumeration counts them."""

    finished: Finished | None = None
    frac_widths: MeasuredFracWidths = field(default_factory=dict)
    """Where the config says "auto"; empty for a row that was not measured again."""

    @property
    def searched(self) -> Trial:
        """The trial with the figures of the search, whether it was tuned since or not."""
        return self.finished.searched if self.finished else self.trial


@dataclass(frozen=True)
class TrialCounts:
    """Counts of trials: measured, repeated, failed, stopped early, and taken over from earlier searches."""

    measured: int
    repeats: int
    failed: int
    stopped: int
    inherited: int

    @classmethod
    def of(cls, trials: Sequence[Trial]) -> TrialCounts:
        """The counts of some trials."""
        return cls(
            measured=sum(trial.repeats is None and not trial.inherited for trial in trials),
            repeats=sum(trial.repeats is not None for trial in trials),
            failed=sum(bool(trial.failed) for trial in trials),
            stopped=sum(trial.stopped_at is not None and trial.repeats is None for trial in trials),
            inherited=sum(bool(trial.inherited) for trial in trials),
        )
