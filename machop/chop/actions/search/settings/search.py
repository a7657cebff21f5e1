"""Reads the `[search]` tables of a TOML file as typed settings, and reports all problems before anything runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from chop.actions.search.search_space.base import SEARCH_SPACES
from chop.actions.search.settings.early_stopping import ladder_problems
from chop.actions.search.settings.finish import Finish, parse_finish
from chop.actions.search.settings.metrics import ConstraintSetting, MetricTable, constraints_of, objective_of
from chop.actions.search.settings.runners import known_metrics, missing_metric, parse_runners, wanted_runners
from chop.actions.search.settings.strategy_setup import StrategySetup, parse_setup, with_sampler
from chop.actions.search.settings.tables import RunnerChoice, StrategyTable, name_problem, parse_below
from chop.actions.search.strategies.base import STRATEGIES
from chop.config.later_keys import fingerprint_of_options, later_options
from chop.config.typed import Problem, parse_table
from chop.dataset.data import Data
from chop.record.goals import Goals
from chop.record.trial import Objective
from chop.scoring.metric import Direction
from chop.tools.logger import get_logger

logger = get_logger(__name__)


_Goals = tuple[tuple[Objective, ...], tuple[ConstraintSetting, ...]]


@dataclass(frozen=True)
class SearchSettings:
    """All settings of a search, except model and data."""

    space: str
    space_setup: Any
    seed: Mapping[str, Any]
    override: Mapping[str, Any]
    strategy: str
    strategy_options: Any
    setup: StrategySetup
    runners: tuple[RunnerChoice, ...]
    objectives: tuple[Objective, ...]
    constraints: tuple[ConstraintSetting, ...] = ()
    eval_mode: bool = True
    finish: Finish | None = None
    order: tuple[str, ...] = ()
    """The metrics as the user lists them; `objectives` are in alphabetical order."""

    later: Mapping[str, Any] = field(default_factory=dict)
    """By path, the later keys of `[search.strategy]` and its setup that a resumed search must match."""

    def goals(self, in_float: Mapping[str, float]) -> Goals:
        """The objectives and constraints, given the metrics of the FP32 baseline."""
        constraints = tuple(constraint.resolved(in_float) for constraint in self.constraints)
        return Goals(self.objectives, constraints, self.setup.direction if self.setup.sum_scaled_metrics else None)

    @property
    def algorithm(self) -> str:
        """The strategy as records and comparisons call it: by its variant (a sampler of Optuna), if it has several."""
        return STRATEGIES[self.strategy].variant(self.strategy_options) or self.strategy

    @property
    def wanted_metrics(self) -> set[str]:
        """The metrics that objectives and constraints are about."""
        return {own.metric for own in self.objectives} | {own.metric for own in self.constraints}

    def fingerprint(self) -> dict[str, Any]:
        """The settings that a resumed search must match.

        These are all but the budget, the number of workers, and what is done when the search has ended.
        """
        return {
            "search_space": self.space,
            "calibration_rows": getattr(self.space_setup, "calibration_rows", None),
            "strategy": [self.strategy, fingerprint_of_options(self.strategy_options)],
            "runners": [runner.fingerprint() for runner in self.runners],
            "metrics": [fingerprint_of_options(objective) for objective in self.objectives],
            "limits": [constraint.fingerprint() for constraint in self.constraints],
            "sum_scaled_metrics": [self.setup.sum_scaled_metrics, self.setup.direction],
            "ask_batch": self.setup.ask_batch,
            "ladder": [self.setup.ladder, self.setup.ladder_confidence] if self.setup.ladder else [],
            "eval_mode": self.eval_mode,
            **self.later,
        }


@dataclass(frozen=True)
class _SpaceTable:
    name: str
    setup: dict[str, Any] = field(default_factory=dict)
    seed: dict[str, Any] = field(default_factory=dict)
    override: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class _SearchTable:
    search_space: dict[str, Any]
    strategy: dict[str, Any]
    finish: dict[str, Any] | None = None


def parse_search_settings(table: Any, data_module: Data | None = None) -> tuple[SearchSettings | None, list[Problem]]:
    """The settings of the `search` table, or None, and all problems, with paths below `search`.

    Without data (`data_module` None) there are no settings, and the problems are those that no data could change: which
    metrics there are, and on how many samples they are measured, the data says.
    """
    search, problems = parse_table(_SearchTable, table)
    if search is None:
        return None, problems
    space, space_setup, problems = parse_space(search.search_space)
    strategy, found = parse_below(StrategyTable, search.strategy, "strategy")
    problems += found
    if strategy is None:
        return None, problems
    strategy, found = with_sampler(strategy)
    problems += found
    runners, in_runners = parse_runners(strategy, data_module)
    options, setup, found = parse_setup(strategy)
    problems += in_runners + found
    finish, found = parse_finish(search.finish, runners)
    problems += found
    if setup is not None and not in_runners and data_module is not None:
        wanted = wanted_runners(runners, strategy.metrics, data_module)
        found = ladder_problems(setup.ladder, wanted, options, strategy.eval_mode, data_module)
        problems += [problem.below("strategy", "setup") for problem in found]
    sum_direction = setup.direction if setup is not None and setup.sum_scaled_metrics else None
    (objectives, constraints), found = _parse_metrics(strategy, data_module, sum_direction)
    problems += found
    if not problems and setup is not None and data_module is not None:
        problems += _strategy_problem(strategy, options, 1 if setup.sum_scaled_metrics else len(objectives))
    if problems or space is None or space_setup is None or setup is None or data_module is None:
        return None, problems
    return (
        SearchSettings(
            space=SEARCH_SPACES.canonical(space.name),
            space_setup=space_setup,
            seed=space.seed,
            override=space.override,
            strategy=STRATEGIES.canonical(strategy.name),
            strategy_options=options,
            setup=setup,
            runners=runners,
            objectives=objectives,
            constraints=constraints,
            eval_mode=strategy.eval_mode,
            finish=finish,
            order=tuple(strategy.metrics),
            later={
                f"{path}.{key}": value
                for path, own in {"strategy": strategy, "strategy.setup": setup}.items()
                for key, value in later_options(own).items()
            },
        ),
        [],
    )


def parse_space(table: Any) -> tuple[_SpaceTable | None, Any, list[Problem]]:
    """The table `search_space`, its setup, and all problems, with paths below `search`."""
    space, problems = parse_below(_SpaceTable, table, "search_space")
    if space is None:
        return None, None, problems
    if unknown := name_problem(SEARCH_SPACES, space.name, "search_space", "name"):
        return space, None, unknown
    setup, found = parse_below(SEARCH_SPACES[space.name].Setup, space.setup, "search_space", "setup")
    return space, setup, found


def _strategy_problem(strategy: StrategyTable, options: Any, objectives: int) -> list[Problem]:
    message = STRATEGIES[strategy.name].problem(options, objectives)
    return [Problem(("strategy", "setup"), message)] if message else []


def _parse_metrics(
    strategy: StrategyTable, data_module: Data | None, sum_direction: Direction | None
) -> tuple[_Goals, list[Problem]]:
    known = known_metrics(strategy, data_module)
    objectives: list[Objective] = []
    constraints: list[ConstraintSetting] = []
    problems: list[Problem] = []
    for name, table in sorted(strategy.metrics.items()):
        parsed, found = parse_table(MetricTable, table)
        problems += [problem.below("strategy", "metrics", name) for problem in found]
        if data_module is None:
            continue
        metric, found = known.get(name), []
        if metric is None:
            missing = missing_metric(name, known, strategy)
            problems += [missing.below("strategy", "metrics")] if missing else []
        elif parsed is not None:
            constraints += constraints_of(metric, parsed, found)
            objectives += objective_of(metric, parsed, sum_direction, found)
        problems += [problem.below("strategy", "metrics", name) for problem in found]
    if not (objectives or problems or (data_module is None and strategy.metrics)):
        problems.append(Problem(("strategy", "metrics"), "names nothing to optimise: give a metric a direction"))
    return (tuple(objectives), tuple(constraints)), problems
