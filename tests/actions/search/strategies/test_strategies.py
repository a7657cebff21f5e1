"""Every strategy of ours under the conformance suite."""

from __future__ import annotations

import pytest

from chop.testing import StrategyConformance


class TestStrategies(StrategyConformance):
    strategies = (
        "brute_force",
        ("brute_force", {"order": "random"}),
        ("optuna", {"sampler": "tpe", "n_startup_trials": 4}),
        ("optuna", {"sampler": "nsgaii", "population_size": 4}),
        ("optuna", {"sampler": "nsgaiii", "population_size": 4}),
        ("optuna", {"sampler": "gp", "n_startup_trials": 10}),
        ("optuna", {"sampler": "cmaes"}),
        ("optuna", {"sampler": "qmc"}),
        ("optuna", {"sampler": "random"}),
        "uniform",
        ("evolution", {"population_size": 4, "tournament_size": 2}),
        "gradient",
        ("gradient", {"snapshots": 14, "train_weights": True}),
        "greedy",
        "sensitivity",
        ("surrogate", {"initial": 4}),
    )


@pytest.mark.slow
class TestSlowStrategies(StrategyConformance):
    strategies = (("optuna", {"sampler": "gp", "n_startup_trials": 4}),)
