"""The loop of a comparison on a made-up space: what counts as an evaluation, when a run ends, who is run once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

from chop.actions.compare.answers import Answers, Metrics
from chop.actions.compare.contenders import Contender, unfit
from chop.actions.compare.experiment import Experiment
from chop.actions.search.run.loop import WORST
from chop.actions.search.search_space import Point
from chop.actions.search.strategies.base import SearchStrategyBase, StrategyContext, Values
from chop.record.goals import Constraint, Goals
from chop.record.landscape import Landscape
from chop.record.trial import Objective


class Numbers(Answers):
    """Points `{"x": 0}`, `{"x": 1}` …; the metric is the number, the point 3 has none."""

    is_exact = True

    def rows(self, points: Sequence[Point]) -> list[int]:
        return [point["x"] for point in points]

    def metrics(self, row: int) -> Metrics | None:
        return None if row == 3 else {"value": float(row)}

    def indexes(self, rows: Any) -> Any:
        return rows

    def landscape(self) -> Landscape:
        return Landscape(Path("made up"), {}, {"value": np.arange(10.0)})


@dataclass(frozen=True)
class Script:
    """What `Scripted` proposes, over and over if `endless`; `by_seed` turns it by the seed."""

    numbers: tuple[int, ...]
    endless: bool = False
    by_seed: bool = False


class Scripted(SearchStrategyBase):
    """Proposes what it is told to, two at a time."""

    batch = 2
    told: list[Values]

    def __init__(self, context: StrategyContext, options: Script) -> None:
        super().__init__(context, options)
        shift = context.seed if options.by_seed else 0
        self._left = [(number + shift) % 10 for number in options.numbers]
        self.told = []
        Scripted.last = self

    last: Scripted

    def ask(self, n: int) -> list[Point]:
        asked, self._left = self._left[:n], self._left[n:] + (self._left[:n] if self.options.endless else [])
        return [{"x": number} for number in asked]

    def tell(self, points: Sequence[Point], values: Sequence[Values]) -> None:
        self.told += values


def experiment(budget: int, *constraints: Constraint) -> Experiment:
    goals = Goals((Objective("value"),), constraints)
    return Experiment(Numbers(), goals, budget, lambda seed: StrategyContext(cast(Any, None), ("maximize",), seed))


def scripted(*numbers: int, name: str = "scripted", **how: bool) -> Contender:
    return Contender(name, Scripted, Script(numbers, **how))


def test_a_repeat_is_a_trial_and_no_evaluation() -> None:
    run = experiment(3).run(scripted(4, 4, 5, 4, 6, 7), 0)
    assert run.rows.tolist() == [4, 4, 5, 4, 6]
    assert run.is_new.tolist() == [True, False, True, False, True]
    assert (run.evaluated.tolist(), run.repeats, run.end) == ([4, 5, 6], 2, "budget")
    assert Scripted.last.told == [(4.0,), (4.0,), (5.0,), (4.0,), (6.0,)]


def test_a_strategy_that_repeats_itself_or_has_nothing_left_ends() -> None:
    stuck = experiment(4).run(scripted(1, 2, endless=True), 0)
    assert (len(stuck.rows), stuck.end) == (20, "trials")
    assert experiment(4).run(scripted(1, 2), 0).end == "strategy"


def test_failed_points_and_points_beyond_limits_are_told_as_a_search_tells_them() -> None:
    experiment(3, Constraint("value", "max", 5.0)).run(scripted(3, 5, 6), 0)
    failed, kept, beyond = Scripted.last.told
    assert failed == (-WORST,)
    assert kept == (5.0,)
    assert -WORST < beyond[0] < -WORST / 3


def test_a_strategy_without_chance_is_run_with_two_seeds_alone() -> None:
    ended: list[None] = []
    contenders = [scripted(*range(10), name="fixed"), scripted(*range(10), name="drawn", by_seed=True)]
    runs = list(experiment(10).runs(contenders, range(4), on_end=lambda: ended.append(None)))
    assert [(run.strategy, run.seed) for run in runs] == [
        *(("fixed", 0), ("drawn", 0), ("fixed", 1), ("drawn", 1)),
        *(("drawn", 2), ("drawn", 3)),
    ]
    assert len(ended) == 8


def test_few_equal_proposals_may_be_chance_and_every_seed_is_run() -> None:
    runs = list(experiment(2).runs([scripted(1, 2, name="fixed")], range(4)))
    assert [run.seed for run in runs] == [0, 1, 2, 3]


def test_no_more_is_measured_than_the_budget_has_room_for() -> None:
    asked: list[int] = []

    class Noting(Numbers):
        def rows(self, points: Sequence[Point]) -> list[int]:
            asked.extend(point["x"] for point in points)
            return super().rows(points)

    run = replace(experiment(3), answers=Noting()).run(scripted(1, 1, 2, 4, 5, 6), 0)
    assert (run.end, run.rows.tolist(), asked) == ("budget", [1, 1, 2, 4], [1, 1, 2, 4])


def test_what_cannot_serve_is_found_out_beforehand() -> None:
    class Single(Scripted):
        multi_objective = False

    class Broken(Scripted):
        def ask(self, n: int) -> list[Point]:
            raise ValueError("needs a grid\nand more")

    context = StrategyContext(cast(Any, None), ("maximize", "minimize"), 0)
    options = Script((1,))
    assert unfit(Contender("fine", Scripted, options), context) is None
    told = unfit(Contender("single", Single, options), context)
    assert told is not None
    assert told.startswith("it optimises one number, and there are 2 objectives")
    assert unfit(Contender("broken", Broken, options), context) == "needs a grid"
    assert unfit(Contender("idle", Scripted, Script(())), context) == "it proposes nothing"


@pytest.mark.parametrize("after", [0, 1, 3])
def test_runs_that_are_done_are_handed_out_before_the_next_begins(after: int) -> None:
    class Stopped(Scripted):
        runs = 0

        def __init__(self, context: StrategyContext, options: Script) -> None:
            super().__init__(context, options)
            Stopped.runs += 1
            if Stopped.runs > after:
                raise KeyboardInterrupt

    found = []
    with pytest.raises(KeyboardInterrupt):
        for run in experiment(1).runs([Contender("s", Stopped, Script((1, 2), by_seed=True))], range(5)):
            found.append(run)
    assert len(found) == after
