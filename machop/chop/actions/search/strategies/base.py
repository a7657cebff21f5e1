"""Defines what a search strategy is: it proposes points and learns their values, without model or metric names."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, Protocol

import numpy as np

from chop.actions.search.search_space.base import Point, SearchSpaceBase
from chop.actions.search.strategies.known_values import KnownValues
from chop.actions.search.strategies.runners.base import NoOptions
from chop.ir import QuantPlan
from chop.registry import Registry, subclass_problem

Array = np.ndarray[Any, Any]
Values = tuple[float, ...]
"""One scaled value per objective, in the order of `StrategyContext.directions`; for a strategy that declares
`constraints` one violation for each constraint behind them: 0 or less where it is satisfied."""

WORST = 1e30
"""Told (or its negative, where more is better) in place of a metric that a failed trial does not have."""


class ProbeFeatures(Protocol):
    """Estimates of points without measuring them: `count` numbers for each, less is better."""

    @property
    def count(self) -> int:
        """The number of features."""

    def features(self, codes: Array) -> Array:
        """The features of points of a product space `(points, axes)`, in standard units, `(points, count)`."""


class Probes(Protocol):
    """Runs the sensitivity probes on training samples and estimates all points from them; None if impossible.

    Called with the number of samples (None: as many as are worth it); a second call with the same number costs nothing.
    `remarks` say what was tried, or why nothing was; `cost` is
    that of all probes so far, in evaluations (0: unknown). `on_probe` is called after each network that was tried, with
    how many have been and will be.
    """

    remarks: list[str]
    cost: float
    on_probe: Callable[[int, int], None]

    def __call__(self, rows: int | None) -> ProbeFeatures | None: ...


@dataclass(frozen=True)
class Training:
    """The training that a strategy needs: one of `ch info training`, with its options as plain values.

    Its `snapshots`, networks that it takes along one run, become trials. With `own_networks` a trial is a snapshot: its
    space has one point for each, which keeps the weights and formats that were trained. Without, the strategy reads the
    formats of a snapshot and proposes points of the space that the search was given. `as_points` is what to do where
    `own_networks` cannot be: it follows "to search points of the space" in messages.
    """

    name: str
    options: Mapping[str, Any]
    snapshots: int
    own_networks: bool = False
    as_points: str = field(default="take another strategy", compare=False)


class Trainer(Protocol):
    """Runs the training that a strategy declares, and keeps its snapshots: each is trained once, also if resumed.

    `on_step` is called while it trains, with the steps done and all steps of the training.
    """

    on_step: Callable[[int, int], None]

    def plan(self, number: int) -> QuantPlan | None:
        """The formats of snapshot `number`, from 0; trains up to it if needed. None where the training has ended."""


@dataclass(frozen=True)
class StrategyContext:
    """The facts that a strategy may use: space, directions of the objectives, seed and budget of trials.

    `constraints` is how many constraints a network must satisfy, `known` what of the values is known without
    measuring (None: the space is no product, or nothing is), `probes` estimates what must be measured (None: it
    cannot). `trainer` runs the training that the strategy declares (None: it declares none).
    """

    space: SearchSpaceBase
    directions: tuple[Literal["maximize", "minimize"], ...]
    seed: int
    n_trials: int | None = None
    constraints: int = 0
    known: KnownValues | None = None
    probes: Probes | None = None
    trainer: Trainer | None = None


@dataclass(frozen=True)
class Variant:
    """One of several algorithms of a strategy: the value of the key that chooses it, and its line in `ch info`."""

    name: str
    purpose: str
    keys: tuple[str, ...] = ()
    multi_objective: bool = True
    constraints: bool = True


class SearchStrategyBase(ABC):
    """Base of all strategies: proposes points (`ask`) and is told their values (`tell`).

    `Options` is a dataclass: its fields are the strategy's keys under `[search.strategy.setup]`. A strategy must be
    deterministic: told the same values, it asks for the same points. That is how a search is resumed. It may be told
    of points that it did not ask for: those of earlier searches.
    """

    Options: ClassVar[type[Any]] = NoOptions

    multi_objective: ClassVar[bool] = True
    """Whether it searches for a whole Pareto front."""

    needs_budget: ClassVar[bool] = True
    """Whether it would go on for ever without `n_trials` or `timeout`."""

    asks_ahead: ClassVar[bool] = False
    """Whether what it proposes does not depend on what it is told, so that many points may be asked for at once."""

    exhaustive: ClassVar[bool] = False
    """Whether it ends with every point measured, if it may."""

    constraints: bool = False
    """Whether it is told violations; any other is told values worse than all others where a constraint is violated."""

    batch: ClassVar[int] = 1
    """The number of points that it should be asked for at a time."""

    purpose: ClassVar[str] = ""
    """The purpose of the strategy, in one line."""

    variants: ClassVar[tuple[Variant, ...]] = ()
    """The algorithms that its options choose between, if there are several."""

    @classmethod
    def problem(cls, options: Any, objectives: int) -> str | None:
        """The reason why it cannot search for this number of objectives (a sum is one), or None.

        Asked before anything runs.
        """
        return None if objectives == 1 or cls.multi_objective else one_number_only("it", objectives)

    @classmethod
    def variant(cls, options: Any) -> str | None:
        """The name of the one of `variants` that the options choose; None where there are none."""
        return None

    @classmethod
    def asks_by_index(cls, options: Any) -> bool:
        """Whether it asks ahead for the points of the space in the order of their index, leaving none out."""
        return False

    @classmethod
    def training(cls, options: Any) -> Training | None:
        """The training whose snapshots it needs; None: it trains nothing.

        Checked before anything runs; `context.trainer` runs it.
        """
        return None

    def __init__(self, context: StrategyContext, options: Any = None) -> None:
        self.context = context
        self.space = context.space
        self.options = options if options is not None else self.Options()

    @abstractmethod
    def ask(self, n: int) -> list[Point]:
        """Up to `n` points to evaluate next; an empty list if nothing is left to propose."""

    def why_done(self) -> str:
        """Why it proposes nothing more, and what else to do, in words that follow "ended because"; empty: no reason.

        Asked once `ask` has returned no point.
        """
        return ""

    def tell(self, points: Sequence[Point], values: Sequence[Values]) -> None:  # noqa: B027 - a strategy may not learn
        """Learn the values of points, in the order in which they were proposed."""


def one_number_only(who: str, objectives: int) -> str:
    """The problem of a strategy that cannot search for a front."""
    return (
        f"{who} optimises one number, and there are {objectives} objectives: set sum_scaled_metrics = true, or leave "
        "one objective (constraints may stay)"
    )


STRATEGIES: Registry[type[SearchStrategyBase]] = Registry(
    "chop.strategies",
    "search strategy",
    tuple(
        f"chop.actions.search.strategies.{name}"
        for name in (
            "brute_force",
            "gradient",
            "product.evolution",
            "product.greedy",
            "optuna.strategy",
            "product.sensitivity",
            "product.surrogate",
            "product.uniform",
        )
    ),
    subclass_problem(SearchStrategyBase, "Options"),
)
