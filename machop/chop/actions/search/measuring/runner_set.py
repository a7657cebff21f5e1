"""The runners of a search: those needed in every trial, and those that measure the best networks alone."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from chop.actions.search.measuring.outcome import Measured, Metrics
from chop.actions.search.settings.tables import RunnerChoice
from chop.actions.search.strategies.runners.base import (
    RUNNERS,
    OutputRunner,
    RunnerBase,
    TableRunner,
    output_runners,
    tabled_runners,
)
from chop.dataset.data import Data
from chop.scoring.metric import Metric


class RunnerSet:
    """All runners, in the order of the settings.

    `wanted` names the metrics that objectives and constraints are about (None: all). A runner none of whose metrics is
    wanted is left to the best networks, unless its metrics come from a table that costs next to nothing.
    """

    def __init__(
        self, choices: Sequence[RunnerChoice], data_module: Data, wanted: Collection[str] | None = None
    ) -> None:
        self._grouped = [(choice.group, RUNNERS[choice.name](data_module, choice.options)) for choice in choices]
        self.all: list[RunnerBase] = [runner for _, runner in self._grouped]
        self._group_of = {metric.name: group for group, runner in self._grouped for metric in runner.metrics}
        free = [own for own in tabled_runners(self.all) if own.is_free]
        self.needed = [own for own in self.all if own in free or _is_wanted(own, wanted)]
        self.left_to_the_best = [own for own in self.all if own not in self.needed]
        self.free: list[TableRunner] = free
        self.tabled: list[TableRunner] = tabled_runners(self.needed)
        self.of_outputs: list[OutputRunner] = output_runners(self.needed)

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """The metrics of all runners, in order."""
        return tuple(metric for runner in self.all for metric in runner.metrics)

    @property
    def units(self) -> dict[str, str]:
        """The unit of each metric; empty of a plain number."""
        return {metric.name: metric.unit for metric in self.metrics}

    def by_group(self, metrics: Mapping[str, float]) -> Measured:
        """Metrics as those of the runners under `sw_runner` and of those under `hw_runner`."""
        found: dict[str, Metrics] = {"sw_runner": {}, "hw_runner": {}}
        for name, group in self._group_of.items():
            if name in metrics:
                found[group][name] = metrics[name]
        return Measured(found["sw_runner"], found["hw_runner"])


def _is_wanted(runner: RunnerBase, wanted: Collection[str] | None) -> bool:
    return wanted is None or any(metric.name in wanted for metric in runner.metrics)
