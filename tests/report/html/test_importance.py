"""The importance of choices: main effects of a functional ANOVA."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import product

import numpy as np
import pytest

from chop.record.training import SNAPSHOT_KEY
from chop.record.trial import Trial
from chop.report.html.importance import importances, trials_needed, why_no_importance
from chop.report.html.numbers import column
from tests.report.html.searches import exhaustive_search

Codes = tuple[int, ...]
KEYS = "abcd"
THREE = {key: [2, 4, 8] for key in KEYS}
GRID = list(product(range(3), repeat=4))


def trials_of(points: Iterable[Codes], metric: Callable[[Codes], float]) -> list[Trial]:
    return [
        Trial(number, dict(zip(KEYS, codes, strict=False)), {"m": float(metric(codes))}, {}, {})
        for number, codes in enumerate(points)
    ]


def shares_of(points: Iterable[Codes], metric: Callable[[Codes], float], values: int = 3) -> dict[str, float]:
    """The shares of the four choices, and that of all else."""
    found = importances(trials_of(points, metric), {key: range(values) for key in KEYS}, "m")
    assert min(found["rest"], *found["shares"].values()) >= 0
    assert sum(found["shares"].values()) + found["rest"] == pytest.approx(1, abs=1e-5)
    return {**found["shares"], "rest": found["rest"]}


def exact(metric: Callable[[Codes], float]) -> dict[str, float]:
    """An ANOVA by group means over the whole space."""
    values = np.array([float(metric(codes)) for codes in GRID])
    codes = np.array(GRID)
    groups = [[values[codes[:, place] == own].mean() for own in range(3)] for place in range(4)]
    shares = {key: float(np.var(own) / values.var()) for key, own in zip(KEYS, groups, strict=True)}
    return {**shares, "rest": 1 - sum(shares.values())}


def additive(codes: Codes) -> float:
    return 3 * codes[0] + codes[1] ** 2 - 2 * (codes[2] == 1)


def mixed(codes: Codes) -> float:
    return additive(codes) + 4 * (codes[0] == codes[1])


def correlated(count: int) -> list[Codes]:
    """Points whose first three choices are mostly the same, as those of a strategy that has found something."""
    rng = np.random.default_rng(0)
    first = rng.integers(3, size=count)
    copies = [np.where(rng.random(count) < share, first, rng.integers(3, size=count)) for share in (0.8, 0.7, 0.0)]
    return [tuple(map(int, own)) for own in zip(first, *copies, strict=True)]


@pytest.mark.parametrize("metric", [additive, mixed])
def test_shares_of_a_whole_space_are_those_of_group_means(metric: Callable[[Codes], float]) -> None:
    assert shares_of(GRID, metric) == pytest.approx(exact(metric), abs=1e-5)


def test_an_additive_metric_is_explained_whole_by_correlated_trials() -> None:
    found = shares_of(correlated(60), additive)
    assert found == pytest.approx(exact(additive), abs=1e-4)
    assert found["rest"] == pytest.approx(0, abs=1e-5)


def test_an_interaction_alone_is_no_main_effect() -> None:
    points = list(product(range(2), repeat=4))
    found = shares_of(points, lambda codes: codes[0] ^ codes[1], values=2)
    assert found == pytest.approx({"a": 0, "b": 0, "c": 0, "d": 0, "rest": 1}, abs=1e-9)


def test_noise_is_explained_by_no_choice() -> None:
    rng = np.random.default_rng(0)
    points = [GRID[place] for place in rng.permutation(81)[:40]]
    noise = dict(zip(points, rng.normal(size=40), strict=True))
    assert shares_of(points, lambda codes: noise[codes])["rest"] > 0.85


def test_a_sample_estimates_the_shares_of_the_space() -> None:
    points = [GRID[place] for place in np.random.default_rng(0).permutation(81)[:40]]
    assert shares_of(points, mixed) == pytest.approx(exact(mixed), abs=0.08)


def test_the_width_of_an_exhaustive_search_is_explained_whole() -> None:
    files = exhaustive_search()
    trials = files.trials()
    found = importances(trials, files.header.values["choices"], "average_bitwidth")
    values = column(trials, "average_bitwidth")
    for key, share in found["shares"].items():
        codes = np.array([trial.point[key] for trial in trials])
        means = np.array([values[codes == code].mean() for code in codes])
        assert share == pytest.approx(means.var() / values.var(), abs=1e-4)
    assert found["rest"] == pytest.approx(0, abs=1e-5)


def test_too_few_trials_or_an_equal_metric_have_no_importance() -> None:
    assert trials_needed(THREE) == 16
    assert trials_needed({"a": [2, 4, 8]}) == 3
    assert_none(trials_of(GRID[:15], additive), THREE, "4 choices needs 16 measured trials (two for each value beyond")
    assert_none(trials_of(GRID, lambda codes: 1), THREE, "no objective or constraint differs")


def assert_none(trials: list[Trial], choices: dict[str, list[int]], why: str) -> None:
    assert importances(trials, choices, "m") == {}
    assert why in why_no_importance(trials, choices, ["m"])


def test_a_single_choice_explains_all_once_each_value_was_tried() -> None:
    choices = {"a": [2, 4, 8]}
    trials = trials_of([(0,), (1,), (2,)], lambda codes: codes[0] ** 2)
    assert importances(trials, choices, "m") == {"metric": "m", "trials": 3, "shares": {"a": 1.0}, "rest": 0.0}
    assert_none(trials[:2], choices, "the choice needs 3 measured trials (all of the space), and the study has 2")


def test_snapshots_of_a_training_have_no_importance() -> None:
    trials = [Trial(number, {SNAPSHOT_KEY: number}, {"m": float(number)}, {}, {}) for number in range(14)]
    assert_none(trials, {SNAPSHOT_KEY: list(range(14))}, "the trials are snapshots of one training")


def test_choices_that_never_differ_have_no_importance() -> None:
    trials = [Trial(number, {}, {"m": float(number)}, {}, {}) for number in range(81)]
    assert_none(trials, THREE, "all measured trials have the same choices")
    assert_none(trials[:1], {"a": [2]}, "the space has one point")
