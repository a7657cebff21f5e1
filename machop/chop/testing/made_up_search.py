"""A made-up search that takes milliseconds: a small real space, real costs, and an invented accuracy."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from chop.actions.search.measuring.outcome import Measured
from chop.actions.search.run.loop import SearchLoop
from chop.actions.search.search_space.base import Point, SearchSpaceBase
from chop.actions.search.search_space.codes import code_of
from chop.actions.search.search_space.mixed_precision_ptq import MixedPrecisionPTQ
from chop.actions.search.search_space.trained_networks import TrainedNetworks
from chop.actions.search.settings.strategy_setup import StrategySetup
from chop.actions.search.strategies.base import SearchStrategyBase, StrategyContext
from chop.actions.search.strategies.known_values import KnownValues
from chop.actions.search.strategies.runners import RUNNERS
from chop.errors import MetricError
from chop.evaluation.tables import CostTable
from chop.ir import QuantPlan
from chop.ir.graph.node_costs import node_costs
from chop.record.folder import SearchFolder
from chop.record.front import Front
from chop.record.goals import Constraint, Goals
from chop.record.trial import Objective, Trial
from chop.record.trials import TrialLog

BuildStrategy = Callable[[StrategyContext], SearchStrategyBase]

OBJECTIVES = (Objective("accuracy"), Objective("model_size", 1.0, "minimize"), Objective("bitops", 0.001, "minimize"))
COSTS = ("model_size", "bitops")
LISTS: dict[str, Any] = {"name": ["integer", "NA"], "data_in_width": [4, 8], "weight_width": [2, 4, 8]}


class MadeUpTrainer:
    """Snapshots that no training took: the formats of points of a space, in an order that the seed decides."""

    def __init__(self, space: SearchSpaceBase, snapshots: int, seed: int) -> None:
        self._plans = [space.plan(space.point((seed + 5 * number) % space.size)) for number in range(snapshots)]
        self.on_step: Callable[[int, int], None] = lambda done, of_all: None

    def plan(self, number: int) -> QuantPlan | None:
        """The formats of a snapshot."""
        return self._plans[number] if number < len(self._plans) else None


@dataclass(frozen=True)
class MadeUpSearch:
    """A space of `layers` linear layers, each with 7 distinct alternatives, and the first of three `objectives`.

    `accuracy` is a fixed function of a point, in which layers interact; `model_size` and `bitops` are those of the
    formats. Every fifth point has no metrics where some are `failing` (all of them: "all").
    """

    layers: int = 2
    objectives: int = 2
    constraints: tuple[Constraint, ...] = ()
    failing: str = ""
    is_free: bool = True
    """Whether strategies may know the costs without measuring."""

    seed: int = 0
    sum_direction: Any = field(default=None)
    snapshots: int = 0
    """Where trials are networks of a training: how many it takes. None is saved, so none can be rebuilt."""

    @cached_property
    def space(self) -> SearchSpaceBase:
        """The points: those of `choices`, or one for each snapshot."""
        files = SearchFolder("made up")
        return TrainedNetworks(self.choices, self.snapshots, files) if self.snapshots else self.choices

    @cached_property
    def choices(self) -> MixedPrecisionPTQ:
        """`7 ** layers` points, some of which several choices of the keys mean."""
        return MixedPrecisionPTQ(self._model, {"linear": {"config": LISTS}}, by="type")

    @cached_property
    def goals(self) -> Goals:
        """The objectives, with constraints."""
        return Goals(OBJECTIVES[: self.objectives], self.constraints, self.sum_direction)

    @property
    def context(self) -> StrategyContext:
        """The context that a strategy is made with."""
        known = KnownValues(self.goals, self._tables) if self.is_free and not self.snapshots else None
        return StrategyContext(self.space, self.goals.directions, self.seed, None, len(self.constraints), known)

    def run(
        self,
        strategy: BuildStrategy,
        n_trials: int,
        log: Path,
        batch: int = 1,
        inherited: Sequence[Trial] = (),
        resume: bool = False,
    ) -> list[Trial]:
        """The trials of a search with a budget, as `ch search` runs it; `log` is the file of its record."""
        with TrialLog.resume(log, {}) if resume else TrialLog.create(log, {}) as opened:
            setup = StrategySetup(n_trials=n_trials)
            built = strategy(self.context)
            SearchLoop(self.space, built, self.goals, setup, self.measure, opened, batch, inherited).run()
            return opened.trials

    def measure(self, points: Sequence[Point], front: Front | None = None) -> list[Measured | MetricError]:
        """The metrics of points."""
        return [self._measured(self.number(point) % self.choices.size) for point in points]

    def number(self, point: Point) -> int:
        """The number of a point in its space."""
        return self.space.number(point) if isinstance(self.space, TrainedNetworks) else self.choices.index(point)

    def _measured(self, index: int) -> Measured | MetricError:
        if self.failing == "all" or (self.failing and index % 5 == 2):
            return MetricError("made to fail")
        codes = np.array([code_of(index, self._sizes)])
        costs = {name: float(value[0]) for table in self._tables for name, value in table.scores(codes).items()}
        return Measured({"accuracy": self._accuracy(codes[0])}, {name: costs[name] for name in COSTS})

    def _accuracy(self, code: np.ndarray[Any, Any]) -> float:
        """Better with more bits, worse by a product where all layers have few; a little is noise that never changes."""
        lost = 1 - (code + 1) / 7
        noise = float((code * (3, 5, 7, 11, 13, 17)[: len(code)]).sum() % 4) / 100
        return float(1 - 0.1 * (lost * np.arange(1, len(code) + 1)).sum() - 0.3 * lost.prod() - noise)

    @cached_property
    def _model(self) -> nn.Module:
        torch.manual_seed(0)
        parts = [part for _ in range(self.layers) for part in (nn.Linear(4, 4), nn.ReLU())]
        return nn.Sequential(*parts[:-1])

    @cached_property
    def _sizes(self) -> tuple[int, ...]:
        return (7,) * self.layers

    @cached_property
    def _tables(self) -> list[CostTable]:
        axes = self.choices.axes()
        assert axes is not None
        costs = node_costs(self.choices.graph, torch.zeros(3, 4))
        runners: list[Any] = [RUNNERS[name](None) for name in COSTS]
        return [CostTable(runner.terms, runner.combine, costs, axes) for runner in runners]
