"""Runs every strategy with every seed: a loop of its own, which answers proposals from measured points."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from chop.actions.compare.answers import Answers
from chop.actions.compare.contenders import Contender
from chop.actions.search.run.loop import told_values
from chop.actions.search.search_space import Point
from chop.actions.search.strategies.base import SearchStrategyBase, StrategyContext, Trainer
from chop.errors import FolderError
from chop.record.goals import Goals
from chop.record.trial import Trial
from chop.tools.logger import get_logger
from chop.tools.threads import one_thread

logger = get_logger(__name__)

Array = np.ndarray[Any, Any]
End = Literal["budget", "trials", "strategy"]
TRIALS_PER_EVALUATION = 5
"""Trials after which a run ends, times its budget: a strategy may repeat itself without end."""

ENOUGH_TO_TELL = 10
"""Equal proposals with two seeds that show a strategy to be without chance, and not two draws to be alike."""


@dataclass(frozen=True)
class Run:
    """A run of one strategy with one seed, trial by trial.

    `rows` are the rows of the points, `is_new` marks evaluations (a row that is new in this run; the others are
    repeats), `seconds` are the time in `ask` and `tell`.
    """

    strategy: str
    seed: int
    rows: Array
    is_new: Array
    seconds: Array
    end: End

    @property
    def evaluated(self) -> Array:
        """The rows of its evaluations, in order."""
        return self.rows[self.is_new]

    def proposes_as(self, other: Run) -> bool:
        """Whether another run made the same proposals."""
        return np.array_equal(self.rows, other.rows)

    @property
    def repeats(self) -> int:
        """The number of trials that proposed a point again."""
        return int((~self.is_new).sum())


@dataclass(frozen=True)
class Experiment:
    """Runs strategies that are answered from `answers`, each with `budget` evaluations.

    `context_of` gives what a strategy with a seed may know, `trainer_of` a run of the training that it declares.
    `ask_batch` is how many points are asked for at a time (None: as many as a strategy likes, `batch` of one that does
    not learn).
    """

    answers: Answers
    goals: Goals
    budget: int
    context_of: Callable[[int], StrategyContext]
    batch: int = 1
    ask_batch: int | None = None
    trainer_of: Callable[[Contender, int], Trainer | None] = lambda chosen, seed: None

    def runs(
        self,
        contenders: Sequence[Contender],
        seeds: Sequence[int],
        on_evaluation: Callable[[str, int], None] = lambda name, seed: None,
        on_end: Callable[[], None] = lambda: None,
        on_failure: Callable[[str, int, Exception], None] | None = None,
    ) -> Iterator[Run]:
        """All runs, seed by seed.

        A strategy that makes the same proposals with the first two seeds, enough of them to exclude chance, is not run
        again.

        `on_evaluation` is given the strategy and the seed under way, `on_end` is called for each run that is done or
        need not be. A strategy that fails is told to `on_failure` and not run again; without that its error is raised.
        """
        first: dict[str, Run] = {}
        settled: set[str] = set()
        for place, seed in enumerate(seeds):
            for contender in contenders:
                if contender.name not in settled:
                    try:
                        run = self.run(contender, seed, on_evaluation)
                    except FolderError:  # no fault of the strategy
                        raise
                    except Exception as error:
                        if on_failure is None:
                            raise
                        on_failure(contender.name, seed, error)
                        settled.add(contender.name)
                    else:
                        if place == 1 and len(run.rows) >= ENOUGH_TO_TELL and run.proposes_as(first[contender.name]):
                            settled.add(contender.name)
                        first.setdefault(contender.name, run)
                        yield run
                on_end()

    def run(
        self, contender: Contender, seed: int, on_evaluation: Callable[[str, int], None] = lambda name, seed: None
    ) -> Run:
        """Run one strategy with one seed until the budget is spent."""
        context = replace(self.context_of(seed), trainer=self.trainer_of(contender, seed))
        strategy = contender.strategy(context, contender.options)
        rows: list[int] = []
        is_new: list[bool] = []
        seconds: list[float] = []
        seen: set[int] = set()
        end: End = "strategy"
        for point, row, asking in self._proposals(strategy, seen):
            is_new.append(row not in seen)
            rows.append(row)
            seen.add(row)
            seconds.append(asking + self._tell(strategy, point, row, len(rows) - 1))
            if is_new[-1]:
                on_evaluation(contender.name, seed)
            if len(seen) >= self.budget or len(rows) >= TRIALS_PER_EVALUATION * self.budget:
                end = "budget" if len(seen) >= self.budget else "trials"
                break
        return Run(contender.name, seed, np.array(rows, np.int64), np.array(is_new, bool), np.array(seconds), end)

    def _proposals(self, strategy: SearchStrategyBase, seen: AbstractSet[int]) -> Iterator[tuple[Point, int, float]]:
        """Proposed points, their rows, and the seconds of each `ask`; `seen` are the rows of the run so far."""
        while True:
            left = self.budget - len(seen)
            started = time.perf_counter()
            wanted = self.ask_batch or (min(self.batch, left) if strategy.asks_ahead else strategy.batch)
            with one_thread():
                points = strategy.ask(wanted)
            seconds = time.perf_counter() - started
            if not points:
                return
            each = seconds / len(points)
            while points:  # no more are measured than the budget has room for
                left = self.budget - len(seen)
                now, points = points[:left], points[left:]
                yield from ((point, row, each) for point, row in zip(now, self.answers.rows(now), strict=True))

    def _tell(self, strategy: SearchStrategyBase, point: Point, row: int, number: int) -> float:
        """Tell the strategy what a search would tell it; returns the seconds that it took."""
        metrics = self.answers.metrics(row)
        failed = "" if metrics else "a metric is no finite number"
        values = told_values(
            Trial(number, point, metrics or {}, {}, {}, failed=failed), self.goals, strategy.constraints
        )
        started = time.perf_counter()
        with one_thread():
            strategy.tell([point], [values])
        return time.perf_counter() - started
