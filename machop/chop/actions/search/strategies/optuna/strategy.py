"""Runs Optuna's samplers as a strategy, on a study in memory; the log of trials is the record."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from math import copysign, inf
from typing import TYPE_CHECKING, Annotated, Any

from annotated_types import Ge

from chop.actions.search.search_space.base import Point
from chop.actions.search.strategies.base import (
    STRATEGIES,
    WORST,
    SearchStrategyBase,
    StrategyContext,
    Values,
    Variant,
    one_number_only,
)
from chop.actions.search.strategies.optuna.samplers import (
    SAMPLERS,
    SamplerName,
    build_sampler,
    import_optuna,
    missing_package,
    quiet,
    warm_cmaes,
)
from chop.config.keys import documented
from chop.tools.extras import install_command
from chop.tools.logger import get_logger

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.trial import FrozenTrial, Trial

logger = get_logger(__name__)

Key = tuple[int, ...]


@dataclass(frozen=True)
class OptunaOptions:
    """The sampler, and keys of some samplers; keys that are absent are as Optuna has them."""

    sampler: SamplerName = documented("tpe", "The sampler of Optuna.")
    n_startup_trials: Annotated[int, Ge(1)] | None = documented(
        None, "Random trials before the sampler learns (tpe, gp); without it 10."
    )
    population_size: Annotated[int, Ge(2)] | None = documented(
        None, "Trials in a generation (nsgaii, nsgaiii); without it 50."
    )


@STRATEGIES.register("optuna")
class Optuna(SearchStrategyBase):
    """The samplers of Optuna (arXiv:1907.10902)."""

    Options = OptunaOptions
    constraints = True
    purpose = "methods that are widely known; `sampler` says which"
    variants = tuple(
        Variant(name, facts.purpose, facts.keys, facts.multi_objective, facts.constraints)
        for name, facts in SAMPLERS.items()
    )

    @classmethod
    def variant(cls, options: OptunaOptions) -> str:
        return options.sampler

    @classmethod
    def problem(cls, options: OptunaOptions, objectives: int) -> str | None:
        sampler = f'sampler = "{options.sampler}"'
        package = missing_package(options.sampler)
        if package:
            return f"{sampler} needs the package {package}: {install_command('optuna-samplers')}"
        if objectives > 1 and not SAMPLERS[options.sampler].multi_objective:
            return one_number_only(sampler, objectives)
        return None

    def __init__(self, context: StrategyContext, options: OptunaOptions | None = None) -> None:
        super().__init__(context, options)
        optuna = import_optuna()
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        name: SamplerName = self.options.sampler
        self._facts = SAMPLERS[name]
        self.constraints = self._facts.constraints
        self._tell_unused()
        sampler = build_sampler(name, context.seed, asdict(self.options))
        self._study = optuna.create_study(directions=list(context.directions), sampler=sampler)
        self._distributions = {key: self._distribution(choices) for key, choices in self.space.parameters.items()}
        self._asked: dict[Key, list[Trial]] = {}
        self._has_begun = False

    def ask(self, n: int) -> list[Point]:
        if not self._has_begun:
            self._begin()
        with quiet():
            trials = [self._study.ask(dict(self._distributions)) for _ in range(n)]
        for trial in trials:
            self._asked.setdefault(self._key(trial.params), []).append(trial)
        return [{key: int(trial.params[key]) for key in self._distributions} for trial in trials]

    def tell(self, points: Sequence[Point], values: Sequence[Values]) -> None:
        for point, told in zip(points, values, strict=True):
            objectives = told[: len(self.context.directions)]
            self._tell(point, objectives, told[len(objectives) :], failed=abs(objectives[0]) >= WORST)

    def _tell(self, point: Point, objectives: Values, violations: Values, failed: bool) -> None:
        import optuna

        if failed and self._facts.failed == "infinite":
            objectives = tuple(copysign(inf, value) for value in objectives)
            violations = (inf,) * len(violations)
        constraints = {str(number): violation for number, violation in enumerate(violations)}
        waiting = self._asked.get(self._key(point))
        number = _limited(waiting.pop(0), constraints) if waiting else self._added(point, constraints)
        if failed and self._facts.failed == "left_out":
            self._study.tell(number, state=optuna.trial.TrialState.FAIL)
        else:
            self._study.tell(number, list(objectives))

    def _begin(self) -> None:
        """Create the sampler before the first proposal; trials told before may decide where it starts."""
        self._has_begun = True
        if self.options.sampler == "cmaes" and self._distributions:
            trials = self._study.get_trials(deepcopy=False)
            self._study.sampler = warm_cmaes(self.context.seed, trials) or self._study.sampler

    def _added(self, point: Point, constraints: Mapping[str, float]) -> int:
        """The number of a trial for a point that was not proposed, or is told again."""
        import optuna

        params = {key: int(point.get(key, 0)) for key in self._distributions}
        state = optuna.trial.TrialState.RUNNING
        self._study.add_trial(
            optuna.trial.create_trial(
                state=state, params=params, distributions=dict(self._distributions), constraints=dict(constraints)
            )
        )
        added: FrozenTrial = self._study.get_trials(deepcopy=False)[-1]
        if isinstance(self._study.sampler, optuna.samplers.BaseGASampler):
            self._study.sampler.get_trial_generation(self._study, added)  # else no generation would hold it
        return added.number

    def _distribution(self, choices: Sequence[Any]) -> BaseDistribution:
        """The index of a choice: an integer if the choices are ordered, else a category."""
        from optuna.distributions import CategoricalDistribution, IntDistribution

        if self.options.sampler == "cmaes" or is_ordered(choices):
            return IntDistribution(0, len(choices) - 1)
        return CategoricalDistribution(list(range(len(choices))))

    def _key(self, point: Mapping[str, Any]) -> Key:
        return tuple(int(point.get(key, 0)) for key in self._distributions)

    def _tell_unused(self) -> None:
        given = [key for key, value in asdict(self.options).items() if key != "sampler" and value is not None]
        unused = [key for key in given if key not in self._facts.keys]
        if unused:
            logger.info("setup: sampler '%s' makes no use of %s", self.options.sampler, ", ".join(unused))


def is_ordered(choices: Sequence[Any]) -> bool:
    """Whether a list is of numbers that only rise, or only fall.

    >>> is_ordered([2, 4, 8]), is_ordered([2, 8, 4]), is_ordered(["NA", 4]), is_ordered([False, True])
    (True, False, False, False)
    """
    if any(isinstance(choice, bool) or not isinstance(choice, int | float) for choice in choices):
        return False
    return list(choices) in (sorted(choices), sorted(choices, reverse=True))


def _limited(trial: Trial, constraints: Mapping[str, float]) -> int:
    """The number of a proposed trial, after its violations were set."""
    for name, violation in constraints.items():
        trial.set_constraint(name, violation)
    return trial.number
