"""Curves against what can be computed by hand, or by the oracle point set by point set."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chop.actions.compare.curves import (
    Question,
    band,
    by_trial,
    evaluations_to,
    hypervolume_curve,
    questions,
    regret_curve,
    spread,
)
from chop.actions.compare.redundancy import rank_correlations, redundancy_remarks
from chop.actions.oracle import Oracle
from chop.errors import SearchError
from chop.record.goals import Constraint, Goals
from chop.record.landscape import Landscape
from chop.record.trial import Objective

ACCURACY, BITS = Objective("accuracy"), Objective("bits", 0.5, "minimize")


def oracle(goals: Goals, **metrics: Any) -> Oracle:
    return Oracle(Landscape(Path("made up"), {}, {name: np.array(own, float) for name, own in metrics.items()}), goals)


FOUR = {"accuracy": [0.0, 1.0, 0.5, 0.75], "bits": [2.0, 6.0, 4.0, 4.0]}


def test_the_hypervolume_after_each_evaluation_is_that_computed_by_hand() -> None:
    found = hypervolume_curve(oracle(Goals((ACCURACY, BITS)), **FOUR), np.array([0, 2, 1, 3]))
    assert found == pytest.approx([0.0, 0.25 / 0.375, 0.25 / 0.375, 1.0])


def test_points_beyond_a_limit_and_points_without_metrics_add_nothing() -> None:
    constrained = oracle(Goals((ACCURACY, BITS), (Constraint("bits", "max", 4.0),)), **FOUR)
    assert hypervolume_curve(constrained, np.array([1, 2, 3])) == pytest.approx([0.0, 0.25 / 0.375, 1.0])
    failed = oracle(Goals((ACCURACY, BITS)), accuracy=[*FOUR["accuracy"], np.nan], bits=[*FOUR["bits"], 1.0])
    assert hypervolume_curve(failed, np.array([4, 3])) == pytest.approx([0.0, 1.0])


def test_a_sum_is_one_objective_that_runs_from_the_worst_to_the_best() -> None:
    goals = Goals((ACCURACY, Objective("bits", -0.25, "minimize")), sum_direction="maximize")
    found = oracle(goals, **FOUR)
    assert found.costs[:, 0] == pytest.approx([0.5, 0.5, 0.5, 0.25])
    assert hypervolume_curve(found, np.array([0, 2, 3])) == pytest.approx([0.0, 0.0, 1.0])
    assert questions(found, [True]) == [Question(0)]
    assert regret_curve(found, Question(0), np.array([0, 3])) == pytest.approx([0.25, 0.0])


@pytest.mark.parametrize("objectives", [1, 2, 3, 4])
def test_the_curve_is_the_oracles_hypervolume_of_every_beginning(objectives: int) -> None:
    generator = np.random.default_rng(objectives)
    metrics = {f"m{number}": generator.integers(0, 7, 60).astype(float) for number in range(objectives)}
    goals = Goals(tuple(Objective(name, 2.0, "minimize") for name in metrics))
    truth = oracle(goals, **metrics)
    rows = generator.permutation(60)[:40]
    wanted = [truth.hypervolume(rows[: count + 1].tolist()) for count in range(len(rows))]
    assert hypervolume_curve(truth, rows) == pytest.approx(wanted, abs=1e-12)


NAN = [np.nan] * 4


@pytest.mark.parametrize(
    ("metrics", "constraints", "told"),
    [
        (FOUR | {"bits": NAN}, (), r"no point of made up has finite metrics \(none anywhere: bits\)"),
        (FOUR | {"size": NAN}, (Constraint("size", "max", 4.0),), r"finite metrics \(none anywhere: size\)"),
        ({"accuracy": [1.0, np.nan], "bits": [np.nan, 1.0]}, (), "has finite metrics$"),
        ({}, (), "no point of made up has metrics"),
        (
            FOUR,
            (Constraint("accuracy", "min", 0.8), Constraint("bits", "max", 3.0, "bit")),
            r"satisfies .*\. The nearest violates accuracy >= 0\.8: it has 0\.75, 0\.05 away; bits <= 3 bit: it",
        ),
    ],
)
def test_why_no_point_counts_is_told(metrics: dict[str, Any], constraints: tuple[Constraint, ...], told: str) -> None:
    with pytest.raises(SearchError, match=told):
        _ = oracle(Goals((ACCURACY, BITS), constraints), **metrics).front


def test_regret_is_the_distance_from_the_best_under_a_budget() -> None:
    truth = oracle(Goals((ACCURACY, BITS)), **FOUR)
    asked = questions(truth, [True, False])
    assert [question.label(truth.goals, {"bits": "bit"}) for question in asked] == [
        "accuracy, bits <= 4 bit",
        "accuracy, bits <= 6 bit",
    ]
    assert regret_curve(truth, asked[0], np.array([1, 0, 2, 3])) == pytest.approx([0.75, 0.75, 0.25, 0.0])
    assert regret_curve(truth, asked[1], np.array([2, 1])) == pytest.approx([0.5, 0.0])


@given(st.lists(st.floats(1e-3, 1e7), min_size=1, max_size=9, unique=True), st.sampled_from([1.0, 0.2, 3e-4]))
def test_a_budget_is_the_number_that_its_label_tells(sizes: list[float], scale: float) -> None:
    goals = Goals((ACCURACY, Objective("size", scale, "minimize")))
    truth = oracle(goals, accuracy=sorted(sizes), size=sorted(sizes))
    for question in questions(truth, [True, False]):
        told = float(question.label(goals, {}).partition("<= ")[2].replace(",", ""))
        assert question.most == pytest.approx(scale * told, rel=1e-9)
        admitted = truth.costs[np.isfinite(question.best(truth.costs)), 1]
        assert 0.998 * question.most < admitted.max() <= question.most


def test_of_values_that_are_all_learned_the_first_is_asked_for() -> None:
    truth = oracle(Goals((ACCURACY, BITS)), **FOUR)
    assert {question.objective for question in questions(truth, [True, True])} == {0}


def test_targets_that_are_not_reached_are_infinite_in_the_median() -> None:
    assert evaluations_to(np.array([0.5, 0.95 - 1e-12]), 0.95) == 2
    assert spread([3.0, np.inf, np.inf])[1] == np.inf
    assert spread([3.0, 5.0, np.inf]) == (3.0, 5.0, np.inf)


def test_short_runs_keep_their_last_value_and_repeats_move_nothing() -> None:
    found = band([np.array([0.1, 0.5]), np.array([0.3, 0.3, 0.3, 0.9])], 4)
    assert found.median == pytest.approx([0.2, 0.4, 0.4, 0.7])
    assert found.at(10) == pytest.approx((0.54, 0.7, 0.86))
    assert by_trial(np.array([0.2, 0.5]), np.array([True, False, False, True])).tolist() == [0.2, 0.2, 0.2, 0.5]


def test_objectives_that_say_the_same_are_told() -> None:
    accuracy, loss = np.array([0.1, 0.4, 0.6, 0.9]), np.array([2.0, 1.0, 0.9, 0.1])
    found = rank_correlations({"accuracy": accuracy, "loss": loss, "bits": accuracy, "flops": np.ones(4)})
    assert found == pytest.approx({("accuracy", "loss"): -1, ("accuracy", "bits"): 1, ("loss", "bits"): -1})
    told = redundancy_remarks(found, Goals((ACCURACY, Objective("loss", direction="minimize"))))
    assert len(told) == 1
    assert "accuracy and loss say the same" in told[0]
    assert redundancy_remarks(found, Goals((ACCURACY, BITS))) == [
        "Accuracy and loss have a rank correlation of -1.000: they rank the configurations alike, so one of them is "
        "enough as an objective."
    ]


@pytest.mark.parametrize(
    ("rho", "told"),
    [(-0.912, "a front of the two holds hardly a trade-off"), (-0.5, "in tendency only"), (0.1, "does not tend")],
)
def test_accuracy_and_loss_are_judged_as_the_concept_page_does(rho: float, told: str) -> None:
    [remark] = redundancy_remarks({("accuracy", "loss"): rho}, Goals((ACCURACY, BITS)))
    assert told in remark
