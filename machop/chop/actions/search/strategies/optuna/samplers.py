"""Optuna's samplers: what each is for, what it can do, and how it is built."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from optuna.samplers import BaseSampler
    from optuna.trial import FrozenTrial

SamplerName = Literal["tpe", "nsgaii", "nsgaiii", "gp", "cmaes", "qmc", "random"]

LEAST_WARM_START = 10
"""Trials of earlier searches from which CMA-ES starts around the best tenth of them (arXiv:2012.06932)."""


@dataclass(frozen=True)
class SamplerFacts:
    """Facts about a sampler; `name` is its class.

    `failed` is how it is told of a trial that has no metrics. "worst": complete and worse than all others, so that it
    is avoided. "infinite": the same for a model of the values, which clips what is infinite but in which 1e30 would
    drown the rest. "left_out": failed, for populations, in which nothing unmeasured should live.
    """

    name: str
    purpose: str
    keys: tuple[str, ...] = ()
    packages: tuple[str, ...] = ()
    multi_objective: bool = True
    constraints: bool = False
    failed: Literal["worst", "infinite", "left_out"] = "worst"


SAMPLERS: Mapping[SamplerName, SamplerFacts] = {
    "tpe": SamplerFacts(
        "TPESampler",
        "the usual choice: Parzen estimators, all keys jointly (arXiv:2304.11127)",
        keys=("n_startup_trials",),
        constraints=True,
    ),
    "nsgaii": SamplerFacts(
        "NSGAIISampler",
        "fronts, with many hundreds of trials: a genetic algorithm (10.1109/4235.996017)",
        keys=("population_size",),
        constraints=True,
        failed="left_out",
    ),
    "nsgaiii": SamplerFacts(
        "NSGAIIISampler",
        "the same for four objectives and more (10.1109/TEVC.2013.2281534)",
        keys=("population_size",),
        constraints=True,
        failed="left_out",
    ),
    "gp": SamplerFacts(
        "GPSampler",
        "few, costly trials: a Gaussian process, slow itself (arXiv:2310.20708)",
        keys=("n_startup_trials",),
        constraints=True,
        failed="infinite",
    ),
    "cmaes": SamplerFacts(
        "CmaEsSampler",
        "one number over lists in order, such as widths (arXiv:2205.13482)",
        packages=("cmaes",),
        multi_objective=False,
    ),
    "qmc": SamplerFacts("QMCSampler", "covers the space evenly and learns nothing: Sobol's points"),
    "random": SamplerFacts("RandomSampler", "learns nothing: the least that any other must beat"),
}

_FIXED: Mapping[SamplerName, Mapping[str, Any]] = {
    "tpe": {"multivariate": True},
    "gp": {"warn_independent_sampling": False},
    "cmaes": {"with_margin": True, "warn_independent_sampling": False},
    "qmc": {"scramble": True, "warn_independent_sampling": False},
}
"""Arguments that are ours: steps of one, so CMA-ES with margin; a sequence that depends on the seed."""


def build_sampler(name: SamplerName, seed: int, keys: Mapping[str, Any]) -> BaseSampler:
    """Build the sampler with those of `keys` that are set (not None) and that it has."""
    import optuna

    facts = SAMPLERS[name]
    given = {key: keys[key] for key in facts.keys if keys.get(key) is not None}
    with quiet():
        sampler: BaseSampler = getattr(optuna.samplers, facts.name)(seed=seed, **_FIXED.get(name, {}), **given)
    return sampler


def warm_cmaes(seed: int, trials: Sequence[FrozenTrial]) -> BaseSampler | None:
    """CMA-ES that starts around the best of given trials; None if these are too few."""
    import optuna

    complete = [trial for trial in trials if trial.state == optuna.trial.TrialState.COMPLETE]
    if len(complete) < LEAST_WARM_START:
        return None
    with quiet():
        return optuna.samplers.CmaEsSampler(seed=seed, **_FIXED["cmaes"], source_trials=complete)


def import_optuna() -> Any:
    """Return the package, imported without the warning of its progress bars, which are not used, in a notebook."""
    with quiet():
        import optuna
    return optuna


@contextmanager
def quiet() -> Iterator[None]:
    """Suppress Optuna's warnings about experimental features and clipped values."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def missing_package(name: SamplerName) -> str | None:
    """The package that a sampler needs and that is not installed."""
    return next((package for package in SAMPLERS[name].packages if find_spec(package) is None), None)
