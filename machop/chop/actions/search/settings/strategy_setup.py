"""Reads the table `setup` of a strategy: the strategy's own keys, and keys that all strategies share."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Annotated, Any

from annotated_types import Ge, Gt, Le, Lt

from chop.actions.search.settings.tables import StrategyTable, name_problem, parse_below
from chop.actions.search.strategies.base import STRATEGIES
from chop.actions.search.strategies.optuna.samplers import SAMPLERS
from chop.config.keys import documented
from chop.config.typed import Problem, UnknownKey, unknown_key
from chop.executors import EXECUTORS, Jobs
from chop.scoring.metric import Direction
from chop.tools.logger import get_logger

logger = get_logger(__name__)

RETIRED_KEYS = {
    "pkl_ckpt": "a search is resumed from its own trial log, with --resume",
    "save_every_n_trials": "every trial is saved as soon as it is measured",
    "model_parallel": "a model is kept on one device",
}


@dataclass(frozen=True)
class StrategySetup:
    """The keys of `[search.strategy.setup]` that every strategy has."""

    n_trials: Annotated[int, Ge(1)] | None = documented(None, "The search ends after so many trials.")
    timeout: Annotated[float, Gt(0)] | None = documented(None, "The search ends after so many seconds of measuring.")
    patience: Annotated[int, Ge(1)] | None = documented(
        None, "The search ends when the Pareto front has not improved for so many trials."
    )
    ask_batch: Annotated[int, Ge(1)] | None = documented(
        None, "Points that are proposed and measured together; without it as many as suit the strategy."
    )
    ladder: list[Annotated[int, Ge(1)]] = documented(
        made_by=list,
        meaning="Sample sizes of early stopping: a trial that cannot reach the front is stopped at one of them.",
    )
    ladder_confidence: Annotated[float, Gt(0.5), Lt(1)] = documented(
        0.9999, "With what confidence a trial must be shown to miss the front before early stopping ends it."
    )
    n_jobs: Annotated[int, Ge(1), Le(256)] = documented(1, "Calls that measure at the same time.")
    executor: str | None = documented(
        None, "What makes these calls (`ch info executor`); without it processes, or this process for one call."
    )
    memory_mib: Annotated[int, Ge(128)] = documented(1024, "The memory that values under way may take, in MiB.")
    sum_scaled_metrics: bool = documented(
        False, "Whether the sum of all metrics times their `scale` is optimised, in place of a front."
    )
    direction: Direction | None = documented(None, "The direction of that sum.")
    html_report: bool = documented(True, "Whether the search writes `report.html` when it ends.")

    @property
    def jobs(self) -> Jobs:
        """The number of calls at a time, and their executor."""
        return Jobs(self.n_jobs, self.executor)


def with_sampler(strategy: StrategyTable) -> tuple[StrategyTable, list[Problem]]:
    """The table of a strategy with `name = "optuna"` in place of a name of a sampler of Optuna, which its setup takes.

    Its problem is another sampler in the setup. The name of a registered strategy is never that of a sampler.
    """
    name = strategy.name
    if name in STRATEGIES or name not in SAMPLERS:
        return strategy, []
    chosen = replace(strategy, name="optuna", setup={**strategy.setup, "sampler": name})
    other = strategy.setup.get("sampler", name)
    if other == name:
        return chosen, []
    return chosen, [Problem(("strategy", "setup", "sampler"), f"is {other!r}, and the strategy is '{name}': keep one")]


def parse_setup(strategy: StrategyTable) -> tuple[Any, StrategySetup | None, list[Problem]]:
    """The options of the strategy, the keys that all strategies share, and the problems of both.

    Options and shared keys are None if they have problems. Keys that the strategy does not use are named in the log.
    """
    path = ("strategy", "setup")
    unknown = name_problem(STRATEGIES, strategy.name, "strategy", "name")
    if strategy.name not in STRATEGIES:
        told = STRATEGIES.unknown(strategy.name, {"samplers of optuna": list(SAMPLERS)})
        unknown = [Problem(("strategy", "name"), str(told))]
    setup_keys = {f.name for f in fields(StrategySetup)}
    working = STRATEGIES.working()
    meant = strategy.name
    if unknown:
        near = STRATEGIES.meant(strategy.name)
        meant = near if near in working else ""
    own_keys = {f.name for f in fields(STRATEGIES[meant].Options)} if meant else set()
    other_keys = {f.name for cls in working.values() for f in fields(cls.Options)} - own_keys
    setup, problems = parse_below(
        StrategySetup, strategy.setup, *path, ignore=own_keys | other_keys | set(RETIRED_KEYS)
    )
    problems = [_with_all_known(p, setup_keys | own_keys | other_keys) for p in problems] + unknown
    problems += _executor_problem(setup)
    options = None
    if meant:
        options, found = parse_below(
            STRATEGIES[meant].Options, strategy.setup, *path, ignore=set(strategy.setup) - own_keys
        )
        problems += found
    called = strategy.name if options is None else STRATEGIES[meant].variant(options) or strategy.name
    if not unknown:
        problems += _budget_problem(strategy, called, setup)
    _tell_unused(strategy, called, other_keys, setup)
    return options, setup, problems


def _with_all_known(problem: Problem, known: set[str]) -> Problem:
    """The problem of an unknown setup key, compared with the keys of every strategy."""
    if not isinstance(problem, UnknownKey):
        return problem
    if problem.path[-1] in {own.name for own in fields(StrategyTable)}:
        return Problem(problem.path, "belongs to [search.strategy] itself, not to its setup")
    return unknown_key(problem.path[-1], known).below(*problem.path[:-1])


def _budget_problem(strategy: StrategyTable, called: str, setup: StrategySetup | None) -> list[Problem]:
    if setup is None:
        return []
    problems = []
    ends = (setup.n_trials, setup.timeout, setup.patience)
    if STRATEGIES[strategy.name].needs_budget and all(end is None for end in ends):
        message = f"'{called}' has no end of its own: give n_trials, timeout or patience"
        problems.append(Problem(("strategy", "setup"), message))
    if setup.n_trials is not None and setup.ask_batch is not None and setup.ask_batch > setup.n_trials:
        message = f"must not be above n_trials ({setup.n_trials}): a batch is asked for and measured as a whole"
        problems.append(Problem(("strategy", "setup", "ask_batch"), message))
    if setup.sum_scaled_metrics and setup.direction is None:
        message = 'sum_scaled_metrics = true needs direction = "maximize" or "minimize"'
        problems.append(Problem(("strategy", "setup", "sum_scaled_metrics"), message))
    return problems


def _executor_problem(setup: StrategySetup | None) -> list[Problem]:
    if setup is None or setup.executor is None:
        return []
    path = ("strategy", "setup", "executor")
    if unknown := name_problem(EXECUTORS, setup.executor, *path):
        return unknown
    message = setup.jobs.problem()
    return [Problem(path, message)] if message else []


def _tell_unused(strategy: StrategyTable, called: str, other_keys: set[str], setup: StrategySetup | None) -> None:
    unused = sorted(other_keys & set(strategy.setup))
    if setup is not None and not setup.ladder and "ladder_confidence" in strategy.setup:
        logger.info("setup: ladder_confidence has no effect without ladder")
    if setup is not None and not setup.sum_scaled_metrics and setup.direction is not None:
        logger.info("setup: direction has no effect without sum_scaled_metrics; a metric has its own in its table")
    if unused:
        logger.info("setup: '%s' makes no use of %s", called, ", ".join(unused))
    for key in sorted(set(RETIRED_KEYS) & set(strategy.setup)):
        logger.info("setup: %s has no effect: %s", key, RETIRED_KEYS[key])
