"""Selects the strategies of a comparison by name."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from chop.actions.search.settings.search import SearchSettings
from chop.actions.search.strategies.base import STRATEGIES, SearchStrategyBase, StrategyContext, Training
from chop.actions.search.strategies.brute_force import BruteForce, BruteForceOptions
from chop.actions.search.strategies.optuna.samplers import SAMPLERS
from chop.actions.search.strategies.optuna.strategy import Optuna, OptunaOptions
from chop.errors import UnknownNameError, did_you_mean

RANDOM_ORDER = "brute_force_random"
UNIFORM = "uniform"
DEFAULT_NAMES = (
    "brute_force",
    RANDOM_ORDER,
    UNIFORM,
    "random",
    "tpe",
    "nsgaii",
    "evolution",
    "greedy",
    "sensitivity",
    "surrogate",
)


@dataclass(frozen=True)
class Contender:
    """A strategy with its options, under the name that the comparison gives it."""

    name: str
    strategy: type[SearchStrategyBase]
    options: Any

    @property
    def is_optuna(self) -> bool:
        """Whether it is a sampler of Optuna, random search among them."""
        return self.strategy is Optuna


def known_names() -> list[str]:
    """Every name that a comparison knows."""
    return sorted({*STRATEGIES, RANDOM_ORDER, *SAMPLERS})


def contender(name: str, settings: SearchSettings) -> Contender:
    """The strategy called `name`: a registered one, a sampler of Optuna, or brute force in random order.

    The strategy (or sampler) of the file has the options of the file, any other has its defaults. Raises
    UnknownNameError.
    """
    if name == RANDOM_ORDER:
        return Contender(name, BruteForce, BruteForceOptions(order="random"))
    if name in STRATEGIES:
        name = STRATEGIES.canonical(name)
        is_own = name == settings.strategy and STRATEGIES[name] is not BruteForce
        return Contender(name, STRATEGIES[name], settings.strategy_options if is_own else STRATEGIES[name].Options())
    if name in SAMPLERS:
        own = settings.strategy_options
        is_own = isinstance(own, OptunaOptions) and own.sampler == name
        return Contender(name, Optuna, own if is_own else OptunaOptions(sampler=name))  # type: ignore[arg-type]
    known = known_names()
    raise UnknownNameError(f"unknown strategy '{name}'{did_you_mean(name, known)} (known: {', '.join(known)})")


def unknown_names(names: Sequence[str]) -> list[str]:
    """An error line for each unknown name."""
    known = known_names()
    return [
        f"command line: --strategies: unknown strategy '{name}'{did_you_mean(name, known)} (known: {', '.join(known)})"
        for name in names
        if name not in known and name not in STRATEGIES
    ]


def default_names() -> list[str]:
    """The strategies that are compared by default, as far as they are installed."""
    known = known_names()
    return [name for name in DEFAULT_NAMES if name in known]


def unfit(
    chosen: Contender,
    context: StrategyContext,
    training_problem: Callable[[Training], str | None] = lambda training: None,
) -> str | None:
    """The reason why a strategy cannot search this space for these goals, or None; tries it for one point.

    One that trains is not tried: `training_problem` says why its training cannot run, if so.
    """
    problem = chosen.strategy.problem(chosen.options, len(context.directions))
    if problem is not None:
        return problem
    training = chosen.strategy.training(chosen.options)
    if training is not None and training.own_networks:
        return "its trials have weights of their own, so they are no points of the space that the others search"
    if training is not None:
        return training_problem(training)
    try:
        proposed = chosen.strategy(replace(context, probes=None), chosen.options).ask(1)
    except Exception as error:
        return str(error).strip().partition("\n")[0] or type(error).__name__
    return None if proposed else "it proposes nothing"
