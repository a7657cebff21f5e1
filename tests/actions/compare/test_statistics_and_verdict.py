"""Tests against scipy, and words against made-up figures."""

from __future__ import annotations

from dataclasses import replace
from math import inf

import numpy as np
import pytest

from chop.actions.compare.contenders import Contender
from chop.actions.compare.experiment import Run
from chop.actions.compare.statistics import Sample, difference, holm, rank_biserial, signed_rank_p
from chop.actions.compare.summary import StrategyRuns
from chop.actions.compare.verdict import NOT_REACHED, REACH, Record, verdict
from chop.actions.search import STRATEGIES
from chop.report.compare_report import _ratio

SEEDS = 10


def test_exact_tests_agree_with_scipy() -> None:
    stats = pytest.importorskip("scipy.stats")
    generator = np.random.default_rng(0)
    for shift in (0.0, 0.7, 2.0):
        own, other = generator.normal(0, 1, 11), generator.normal(shift, 1, 11)
        wanted = stats.wilcoxon(other, own, method="exact")
        found = difference(Sample(tuple(own)), Sample(tuple(other)))
        assert found.p == pytest.approx(wanted.pvalue)
        assert abs(found.effect) == pytest.approx(1 - 2 * wanted.statistic / 66)


def test_ties_and_what_was_not_reached_are_counted_out() -> None:
    assert signed_rank_p([0.0, 0.0]) == 1.0
    assert signed_rank_p([-inf, -2.0, -1.0]) == pytest.approx(0.25)
    assert rank_biserial([inf, 0.0, -1.0]) == pytest.approx(1 / 3)
    assert difference(Sample((inf, 3.0, inf)), Sample((inf, inf, inf))).effect == 1.0
    assert holm([0.04, 0.01]) == [0.04, 0.02]


def test_against_a_deterministic_strategy_its_copies_are_no_sample() -> None:
    fixed = Sample((5.0, 5.0), deterministic=True)
    assert difference(Sample((1.0, 2.0, 3.0, 4.0)), fixed).p == pytest.approx(0.125)
    assert difference(fixed, Sample((6.0,) * 2, deterministic=True)).p is None


def test_the_ratio_of_medians_comes_with_its_interval() -> None:
    found = difference(Sample(tuple(np.arange(40.0, 50))), Sample(tuple(np.arange(90.0, 100))))
    assert found.ratio == pytest.approx(94.5 / 44.5)
    assert found.ratio_low is not None
    assert found.ratio_high is not None
    assert 1.9 < found.ratio_low < found.ratio < found.ratio_high < 2.4
    assert difference(Sample((10.0, 12.0)), Sample((inf, inf))).ratio == inf
    assert difference(Sample((inf, inf)), Sample((10.0, 12.0))).ratio is None
    for fixed in (False, True):  # nothing within the limits: no hypervolume
        assert difference(Sample((0.0, 0.0), fixed), Sample((-0.5, -0.25))).ratio is None
    assert difference(Sample((0.0, 0.0)), Sample((0.0, 0.0))).ratio is None


def record(
    name: str, reach: list[float], volume: list[float], optuna: bool = False, fixed: bool = False, spent: float = 300
) -> Record:
    return Record(name, Sample(tuple(reach), fixed), Sample(tuple(-value for value in volume), fixed), spent, optuna)


def spread_about(middle: float) -> list[float]:
    return [middle + step for step in range(-5, 5)]


FAST = record("surrogate", spread_about(50), [0.99] * SEEDS)
TPE = record("tpe", spread_about(200), [0.96] * SEEDS, optuna=True)
TPE_TOO = record("another", [*spread_about(200)[1:], 195], [0.96] * SEEDS)
CHANCE = record("brute_force_random", [inf] * SEEDS, [0.80 + 0.001 * seed for seed in range(SEEDS)])
LAZY = record("uniform", [inf, inf], [0.85, 0.85], fixed=True, spent=18)


def line(lines: list[str], name: str) -> str:
    return next(text for text in lines if text.startswith(f"{name} ("))


def test_words_follow_from_the_figures() -> None:
    found = verdict([LAZY, CHANCE, TPE, TPE_TOO, FAST], 300)
    assert found.lines[0] == (
        "Evaluations to 95 % of the exact hypervolume, median: surrogate 49.5, tpe 199.5, another 199.5. "
        "Not within 300: brute_force_random. Not with all that they propose: uniform (18)."
    )
    assert found.lines[1].startswith("Here the best sampler of Optuna is tpe: it needs 4 times [3.")
    surrogate = line(found.lines, "surrogate")
    assert surrogate.startswith("surrogate (49.5 evaluations to 95 %, 99 % of the hypervolume after 300): better than")
    assert "uniform (which ends after 18 without)" in surrogate
    ratios = {(one.strategy, one.reference): _ratio(one, 300) for one in found.comparisons if one.measure == REACH}
    assert ratios["surrogate", "uniform"] == ""
    assert ratios["surrogate", "brute_force_random"] == "> 6.1"
    assert ratios["surrogate", "tpe"].startswith("4 [3.")
    assert "brute_force_random (which needs more than 6.1 times as many)" in surrogate
    assert "tpe (which needs 4 times [" in surrogate
    assert line(found.lines, "another").endswith("; no difference shown from tpe.")
    assert "better after 300 evaluations than brute_force_random" in line(found.lines, "uniform")


def test_the_verdict_counts_probes_as_evaluations() -> None:
    rows = np.arange(6)
    run = Run("surrogate", 0, rows, np.ones(6, dtype=bool), np.zeros(6), "strategy")
    curve = np.array([0.5, 0.8, 0.96, 0.97, 0.98, 0.99])
    free = StrategyRuns(Contender("surrogate", STRATEGIES["surrogate"], None), [run], [curve], budget=6)
    assert (free.record().reach.values, free.record().volume.values) == ((3.0,), (-0.99,))
    probed = replace(free, probes=2.0).record()
    assert (probed.reach.values, probed.volume.values) == ((5.0,), (-0.97,))
    assert replace(free, probes=4.0).record().reach.values == (inf,)  # the budget ends before


def test_a_strategy_that_does_not_get_there_is_worse_than_one_that_does() -> None:
    found = verdict([FAST, record("tpe", [inf] * SEEDS, [0.9] * SEEDS, optuna=True), CHANCE], 300)
    assert found.lines[1] == (
        "Here no sampler of Optuna gets to 95 % within 300, tpe comes nearest: it needs more than 6.1 times as "
        "many evaluations as surrogate."
    )
    words = {(one.strategy, one.reference, one.measure): one.word for one in found.comparisons}
    assert words["brute_force_random", "tpe", "evaluations"] == NOT_REACHED
    assert words["tpe", "brute_force_random", "evaluations"] == NOT_REACHED
    assert "better after 300 evaluations than brute_force_random" in line(found.lines, "tpe")
    slow = verdict([record("greedy", [inf] * SEEDS, [0.9] * SEEDS), TPE], 300)
    assert "worse than tpe" in line(slow.lines, "greedy")


def test_few_seeds_show_nothing_and_say_so() -> None:
    few = [
        record(one.name, list(one.reach.values[:3]), [0.9, 0.91, 0.92], one.is_optuna) for one in (FAST, TPE, CHANCE)
    ]
    found = verdict(few, 300)
    assert all(one.word not in {"better", "worse"} for one in found.comparisons)
    assert "no difference shown from" in line(found.lines, "surrogate")
    assert found.lines[-1] == (
        "With so few seeds not every difference from brute_force_random, tpe can be shown: take more (--seeds)."
    )


def test_without_chance_the_figures_speak_for_themselves() -> None:
    greedy = record("greedy", [60.0, 60.0], [0.97, 0.97], fixed=True)
    found = verdict([greedy, LAZY, record("same", [inf, inf], [0.85, 0.85], fixed=True)], 300)
    assert "better than uniform (which ends after 18 without)" in line(found.lines, "greedy")
    assert "the same as uniform" in line(found.lines, "same")


def test_runs_of_one_seed_are_pairs() -> None:
    hard = [0.0, 100.0, 200.0, 300.0, 400.0, 500.0, 600.0, 700.0]  # what a seed is worth, for whoever draws with it
    own, other = (Sample(tuple(value + more for value in hard)) for more in (1.0, 2.0))
    assert (difference(own, other).p, difference(own, other).effect) == (2 / 2**8, 1.0)
    shorter = Sample(own.values[:3])  # as of a strategy that failed with the fourth seed
    assert difference(shorter, other).least_p == 0.25


def test_runs_that_are_alike_with_every_seed_are_called_the_same() -> None:
    tpe = record("tpe", spread_about(200), [0.96 + 0.001 * seed for seed in range(SEEDS)], optuna=True)
    found = verdict([tpe, replace(tpe, name="twin")], 300)
    assert found.lines[1] == "Here the best sampler of Optuna is tpe (twin has the same figures)."
    assert line(found.lines, "twin").endswith(": the same as tpe.")
    assert not any("best sampler" in own for own in verdict([tpe], 300).lines)  # of one alone


def test_measures_that_disagree_are_both_told() -> None:
    quick = record("uniform", [3.0, 3.0], [0.96, 0.96], fixed=True, spent=18)
    good = record("greedy", [4.0, 4.0], [0.99, 0.99], fixed=True, spent=90)
    told = line(verdict([quick, good], 150).lines, "greedy")
    assert told.endswith(
        "worse to 95 % but better after 150 evaluations than uniform (which needs 0.75 times as many)."
    )


def test_where_neither_median_of_a_resample_arrives_there_is_no_difference() -> None:
    own, other = (Sample(tuple([10.0 * more] * 6 + [inf] * 5)) for more in (1.0, 3.0))
    found = difference(own, other)
    assert found.ratio == 3.0
    assert found.ratio_low is not None
    assert found.ratio_low <= 1.0
