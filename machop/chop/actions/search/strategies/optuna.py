"""Optuna's samplers behind ask and tell, on a study in memory: our trial log is the record."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from chop.actions.search.search_space.base import Point
from chop.actions.search.strategies.base import STRATEGIES, SearchStrategyBase, StrategyContext, Values

if TYPE_CHECKING:
    import optuna


@dataclass(frozen=True)
class OptunaOptions:
    """`sampler`: tpe (multivariate, also for several objectives) or random."""

    sampler: Literal["tpe", "random"] = "tpe"


@STRATEGIES.register("optuna")
class Optuna(SearchStrategyBase):
    """Bayesian optimisation with tree-structured Parzen estimators, or random search, by Optuna (arXiv:1907.10902)."""

    Options = OptunaOptions

    def __init__(self, context: StrategyContext, options: OptunaOptions | None = None) -> None:
        super().__init__(context, options)
        import optuna

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._study = optuna.create_study(directions=list(context.directions), sampler=self._sampler())
        self._distributions = self._parameter_distributions()
        self._asked: list[Any] = []

    def ask(self, n: int) -> list[Point]:
        trials = [self._study.ask(self._distributions) for _ in range(n)]
        self._asked += trials
        return [self._point(trial) for trial in trials]

    def tell(self, points: Sequence[Point], values: Sequence[Values]) -> None:
        for value in values:
            self._study.tell(self._asked.pop(0), list(value))

    def _sampler(self) -> optuna.samplers.BaseSampler:
        import warnings

        import optuna

        if self.options.sampler == "random":
            return optuna.samplers.RandomSampler(seed=self.context.seed)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            return optuna.samplers.TPESampler(seed=self.context.seed, multivariate=True)

    def _parameter_distributions(self) -> dict[str, Any]:
        """A number per key: ordered choices (widths) as integers, names as categories."""
        from optuna.distributions import CategoricalDistribution, IntDistribution

        return {
            key: IntDistribution(0, len(choices) - 1)
            if _is_ordered(choices)
            else CategoricalDistribution(list(range(len(choices))))
            for key, choices in self.space.parameters.items()
        }

    def _point(self, trial: Any) -> Point:
        return {key: int(trial.params[key]) for key in self._distributions}


def _is_ordered(choices: Sequence[Any]) -> bool:
    return all(isinstance(choice, int) and not isinstance(choice, bool) for choice in choices)
