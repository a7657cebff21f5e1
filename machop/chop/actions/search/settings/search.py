"""The `[search]` tables of a TOML file as typed settings; every problem is found before anything runs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Annotated, Any, Literal

from annotated_types import Ge, Gt, Le, Lt

from chop.actions.search.search_space.base import SEARCH_SPACES, SpaceSetup
from chop.actions.search.settings.early_stopping import ladder_problems
from chop.actions.search.settings.metrics import LimitSetting, MetricTable, limits_of, objective_of
from chop.actions.search.settings.shared_samples import samples_problems, with_shared_samples
from chop.actions.search.strategies.base import STRATEGIES
from chop.actions.search.strategies.optuna.samplers import SAMPLERS
from chop.actions.search.strategies.runners.base import RUNNERS, Metric, declared_metrics
from chop.config.typed import Problem, parse_table, unknown_key
from chop.errors import ChopError, did_you_mean
from chop.record.goals import Goals
from chop.record.trial import Direction, Objective
from chop.tools.logger import get_logger

logger = get_logger(__name__)

RETIRED_KEYS = {
    "pkl_ckpt": "a search is resumed from its own trial log, with --resume",
    "save_every_n_trials": "every trial is saved as soon as it is measured",
    "model_parallel": "a model is kept on one device",
}
GROUPS = ("sw_runner", "hw_runner")


@dataclass(frozen=True)
class StudySetup:
    """The keys of `[search.strategy.setup]` that hold for every strategy.

    `ask_batch` points are asked for at a time (absent: as many as suit the strategy); the search ends when the front
    has not moved for `patience` trials. On a `ladder` of sample sizes a candidate that cannot win any more, by
    `ladder_confidence`, is given up before it is measured on all rows.
    """

    n_trials: Annotated[int, Ge(1)] | None = None
    timeout: Annotated[float, Gt(0)] | None = None
    patience: Annotated[int, Ge(1)] | None = None
    ask_batch: Annotated[int, Ge(1)] | None = None
    ladder: list[Annotated[int, Ge(1)]] = field(default_factory=list)
    ladder_confidence: Annotated[float, Gt(0.5), Lt(1)] = 0.9999
    n_jobs: Annotated[int, Ge(1), Le(256)] = 1
    memory_mib: Annotated[int, Ge(128)] = 1024
    sum_scaled_metrics: bool = False
    direction: Direction | None = None


@dataclass(frozen=True)
class RunnerChoice:
    """A runner and its options; its metrics are reported as software or hardware metrics."""

    group: Literal["sw_runner", "hw_runner"]
    name: str
    options: Any

    def fingerprint(self) -> list[Any]:
        """What decides its figures: its name, its options, and how it defines its metrics where that has changed."""
        definition = RUNNERS[self.name].definition
        return [self.group, self.name, asdict(self.options), *([{"definition": definition}] if definition > 1 else [])]


_Goals = tuple[tuple[Objective, ...], tuple[LimitSetting, ...]]


@dataclass(frozen=True)
class SearchSettings:
    """All that a search is told, but for model and data."""

    space: str
    space_setup: SpaceSetup
    seed: Mapping[str, Any]
    override: Mapping[str, Any]
    strategy: str
    strategy_options: Any
    setup: StudySetup
    runners: tuple[RunnerChoice, ...]
    objectives: tuple[Objective, ...]
    limits: tuple[LimitSetting, ...] = ()
    eval_mode: bool = True

    def goals(self, in_float: Mapping[str, float]) -> Goals:
        """What is optimised, and within which limits, given the metrics of the network in float."""
        limits = tuple(limit.resolved(in_float) for limit in self.limits)
        return Goals(self.objectives, limits, self.setup.direction if self.setup.sum_scaled_metrics else None)

    def fingerprint(self) -> dict[str, Any]:
        """What must not change between a search and its resumption: all but the budget and the number of workers."""
        return {
            "search_space": self.space,
            "calibration_rows": self.space_setup.calibration_rows,
            "strategy": [self.strategy, asdict(self.strategy_options)],
            "runners": [runner.fingerprint() for runner in self.runners],
            "metrics": [asdict(objective) for objective in self.objectives],
            "limits": [limit.fingerprint() for limit in self.limits],
            "sum_scaled_metrics": [self.setup.sum_scaled_metrics, self.setup.direction],
            "ask_batch": self.setup.ask_batch,
            "ladder": [self.setup.ladder, self.setup.ladder_confidence] if self.setup.ladder else [],
            "eval_mode": self.eval_mode,
        }


@dataclass(frozen=True)
class _SpaceTable:
    name: str
    setup: dict[str, Any] = field(default_factory=dict)
    seed: dict[str, Any] = field(default_factory=dict)
    override: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class _StrategyTable:
    name: str
    metrics: dict[str, Any]
    eval_mode: bool = True
    setup: dict[str, Any] = field(default_factory=dict)
    sw_runner: dict[str, Any] = field(default_factory=dict)
    hw_runner: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class _SearchTable:
    search_space: dict[str, Any]
    strategy: dict[str, Any]


def parse_search_settings(table: Any, data_module: Any = None) -> tuple[SearchSettings | None, list[Problem]]:
    """Settings from the `search` table, or None and everything that is wrong with it.

    `data_module` may add metrics of its own. Paths of problems start below `search`.
    """
    search, problems = parse_table(_SearchTable, table)
    if search is None:
        return None, problems
    space, space_setup, problems = _parse_space(search.search_space)
    strategy, found = _parse(_StrategyTable, search.strategy, "strategy")
    problems += found
    if strategy is None:
        return None, problems
    runners, in_runners = _parse_runners(strategy, data_module)
    options, setup, found = _parse_setup(strategy)
    problems += in_runners + found
    if setup is not None and not in_runners:
        found = ladder_problems(setup.ladder, runners, options, strategy.eval_mode, data_module)
        problems += [problem.below("strategy", "setup") for problem in found]
    sum_direction = setup.direction if setup is not None and setup.sum_scaled_metrics else None
    (objectives, limits), found = _parse_metrics(strategy, data_module, sum_direction)
    problems += found
    if not problems and setup is not None:
        problems += _strategy_problem(strategy, options, 1 if setup.sum_scaled_metrics else len(objectives))
    if problems or space is None or space_setup is None or setup is None:
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
            limits=limits,
            eval_mode=strategy.eval_mode,
        ),
        [],
    )


def _parse(cls: type[Any], table: Any, *path: str, ignore: Iterable[str] = ()) -> tuple[Any, list[Problem]]:
    value, problems = parse_table(cls, table, ignore)
    return value, [problem.below(*path) for problem in problems]


def _name_problem(registry: Any, name: str, *path: str) -> list[Problem]:
    try:
        _ = registry[name]
    except ChopError as error:
        return [Problem(path, str(error))]
    return []


def _parse_space(table: Any) -> tuple[_SpaceTable | None, SpaceSetup | None, list[Problem]]:
    space, problems = _parse(_SpaceTable, table, "search_space")
    if space is None:
        return None, None, problems
    setup, found = _parse(SpaceSetup, space.setup, "search_space", "setup")
    return space, setup, [*found, *_name_problem(SEARCH_SPACES, space.name, "search_space", "name")]


def _parse_runners(strategy: _StrategyTable, data_module: Any) -> tuple[tuple[RunnerChoice, ...], list[Problem]]:
    runners: list[RunnerChoice] = []
    tables: dict[str, Mapping[str, Any]] = {}
    problems: list[Problem] = []
    for group in GROUPS:
        for name, table in getattr(strategy, group).items():
            path = ("strategy", group, name)
            unknown = _name_problem(RUNNERS, name, *path)
            options, found = (None, []) if unknown else _parse(RUNNERS[name].Options, table, *path)
            problems += unknown + found
            if options is not None:
                runners.append(RunnerChoice(group, RUNNERS.canonical(name), options))  # type: ignore[arg-type]
                tables[RUNNERS.canonical(name)] = table
    problems += [*_metrics_given_twice(runners, data_module), *samples_problems(runners)]
    if not runners and not problems:
        problems.append(Problem(("strategy",), "names no runner: add [search.strategy.sw_runner.basic_evaluation]"))
    return tuple(runners) if problems else with_shared_samples(runners, tables), problems


def _metrics_given_twice(runners: Iterable[RunnerChoice], data_module: Any) -> list[Problem]:
    """Two runners that give a metric of the same name: which one would be optimised?"""
    givers: dict[str, RunnerChoice] = {}
    problems = []
    for runner in runners:
        for metric in declared_metrics(RUNNERS[runner.name], data_module):
            other = givers.setdefault(metric.name, runner)
            if other is not runner:
                message = f"'{metric.name}' is given by {other.name} as well; remove one of the two"
                problems.append(Problem(("strategy", runner.group, runner.name), message))
                break
    return problems


def _parse_setup(strategy: _StrategyTable) -> tuple[Any, StudySetup | None, list[Problem]]:
    path = ("strategy", "setup")
    unknown = _name_problem(STRATEGIES, strategy.name, "strategy", "name")
    if unknown and strategy.name in SAMPLERS:
        cure = f'write name = "optuna", and sampler = "{strategy.name}" under [search.strategy.setup]'
        unknown = [Problem(("strategy", "name"), f"'{strategy.name}' is a sampler of Optuna: {cure}")]
    setup_keys = {f.name for f in fields(StudySetup)}
    own_keys = set() if unknown else {f.name for f in fields(STRATEGIES[strategy.name].Options)}
    other_keys = {f.name for name in STRATEGIES for f in fields(STRATEGIES[name].Options)} - own_keys
    setup, problems = _parse(StudySetup, strategy.setup, *path, ignore=own_keys | other_keys | set(RETIRED_KEYS))
    problems = [_with_all_known(p, setup_keys | own_keys | other_keys) for p in problems] + unknown
    options = None
    if not unknown:
        options, found = _parse(
            STRATEGIES[strategy.name].Options, strategy.setup, *path, ignore=set(strategy.setup) - own_keys
        )
        problems += found
        problems += _budget_problem(strategy, setup)
    _tell_unused(strategy, other_keys, setup)
    return options, setup, problems


def _with_all_known(problem: Problem, known: set[str]) -> Problem:
    """An unknown key of the set-up, compared with the keys of every strategy."""
    if not problem.message.startswith("unknown key"):
        return problem
    return unknown_key(problem.path[-1], known).below(*problem.path[:-1])


def _budget_problem(strategy: _StrategyTable, setup: StudySetup | None) -> list[Problem]:
    if setup is None:
        return []
    problems = []
    ends = (setup.n_trials, setup.timeout, setup.patience)
    if STRATEGIES[strategy.name].needs_budget and all(end is None for end in ends):
        message = f"'{strategy.name}' would never end: give n_trials, timeout or patience"
        problems.append(Problem(("strategy", "setup"), message))
    if setup.n_trials is not None and setup.ask_batch is not None and setup.ask_batch > setup.n_trials:
        message = f"must not be above n_trials ({setup.n_trials}): a batch is asked for and measured as a whole"
        problems.append(Problem(("strategy", "setup", "ask_batch"), message))
    if setup.sum_scaled_metrics and setup.direction is None:
        message = 'sum_scaled_metrics = true needs direction = "maximize" or "minimize"'
        problems.append(Problem(("strategy", "setup", "sum_scaled_metrics"), message))
    return problems


def _strategy_problem(strategy: _StrategyTable, options: Any, objectives: int) -> list[Problem]:
    message = STRATEGIES[strategy.name].problem(options, objectives)
    return [Problem(("strategy", "setup"), message)] if message else []


def _tell_unused(strategy: _StrategyTable, other_keys: set[str], setup: StudySetup | None) -> None:
    unused = sorted(other_keys & set(strategy.setup))
    if setup is not None and not setup.ladder and "ladder_confidence" in strategy.setup:
        logger.info("setup: ladder_confidence has no effect without a ladder")
    if setup is not None and not setup.sum_scaled_metrics and setup.direction is not None:
        logger.info("setup: direction has no effect without sum_scaled_metrics; a metric's own stands in its table")
    if unused:
        logger.info("setup: '%s' makes no use of %s", strategy.name, ", ".join(unused))
    for key in sorted(set(RETIRED_KEYS) & set(strategy.setup)):
        logger.info("setup: %s has no effect: %s", key, RETIRED_KEYS[key])


def _parse_metrics(
    strategy: _StrategyTable, data_module: Any, sum_direction: Direction | None
) -> tuple[_Goals, list[Problem]]:
    known = _known_metrics(strategy, data_module)
    objectives: list[Objective] = []
    limits: list[LimitSetting] = []
    problems: list[Problem] = []
    for name, table in sorted(strategy.metrics.items()):
        metric = known.get(name)
        parsed, found = parse_table(MetricTable, table)
        if metric is None:
            found.append(_missing_metric(name, known, strategy))
        elif parsed is not None:
            limits += limits_of(metric, parsed, found)
            objectives += objective_of(metric, parsed, sum_direction, found)
        prefix = ("strategy", "metrics") if metric is None else ("strategy", "metrics", name)
        problems += [problem.below(*prefix) for problem in found]
    if not objectives and not problems:
        problems.append(Problem(("strategy", "metrics"), "names nothing to optimise: give a metric a direction"))
    return (tuple(objectives), tuple(limits)), problems


def _known_metrics(strategy: _StrategyTable, data_module: Any) -> dict[str, Metric]:
    names = [name for group in GROUPS for name in getattr(strategy, group) if name in RUNNERS]
    return {metric.name: metric for name in names for metric in declared_metrics(RUNNERS[name], data_module)}


def _missing_metric(name: str, known: Mapping[str, Metric], strategy: _StrategyTable) -> Problem:
    giving = [
        runner for runner in RUNNERS if name in {metric.name for metric in declared_metrics(RUNNERS[runner], None)}
    ]
    there = [runner for runner in giving if any(runner in getattr(strategy, group) for group in GROUPS)]
    if there:
        return Problem(
            (name,),
            f"{there[0]} gives it where targets are classes, and those of this data are none: whole numbers from 0 are "
            "(no booleans), one a row",
        )
    if giving:
        return Problem((name,), f"no runner of this file gives it; add one of: {', '.join(giving)}")
    hint = did_you_mean(name, known) or f"; the runners of this file give: {', '.join(known) or 'none'}"
    return Problem((name,), f"no runner gives a metric of that name{hint}")
