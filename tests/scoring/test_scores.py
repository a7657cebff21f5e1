"""Scores against torchmetrics and against what they are defined as."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torchmetrics.classification import MulticlassAccuracy

from chop.errors import ChopError, MetricError
from chop.record.rows import interval_as_json
from chop.scoring.class_hits import MOST_PLAIN_COUNTS, _macro, _micro, _of_plain_numbers, _present
from chop.scoring.intervals import mean_interval, wilson_interval
from chop.scoring.losses import per_sample_loss
from chop.scoring.task import task_of
from tests.scores import predict, score, score_with_intervals


def by_torchmetrics(predictions: Tensor, targets: Tensor, average: str) -> float:
    metric = MulticlassAccuracy(num_classes=predictions.shape[1], average=average)
    return float(metric(predictions, targets))


@given(st.data())
def test_accuracies_are_those_of_torchmetrics(data: st.DataObject) -> None:
    """Also with ties, and with classes that have no row or no prediction."""
    classes = data.draw(st.integers(2, 6))
    rows = data.draw(st.integers(1, 30))
    scores = st.lists(st.integers(0, 2), min_size=classes, max_size=classes)
    predictions = torch.tensor(data.draw(st.lists(scores, min_size=rows, max_size=rows))).float()
    targets = torch.tensor(data.draw(st.lists(st.integers(0, classes - 1), min_size=rows, max_size=rows)))
    found = score(predictions, targets, num_classes=classes)
    assert found["accuracy"] == pytest.approx(by_torchmetrics(predictions, targets, "macro"), abs=1e-7)
    assert found["accuracy_micro"] == pytest.approx(by_torchmetrics(predictions, targets, "micro"), abs=1e-7)


def test_absent_classes_count_as_torchmetrics_has_it() -> None:
    predictions = F.one_hot(torch.tensor([0, 0, 1, 3]), 5).float()
    targets = torch.tensor([0, 0, 2, 2])
    # class 0: all right; 1 and 3: predicted, no row, so 0; 2: rows, none right; 4: neither, so left out
    assert score(predictions, targets, num_classes=5)["accuracy"] == pytest.approx(1 / 4)


@given(st.lists(st.tuples(*[st.integers(0, 40_000)] * 3), min_size=1, max_size=30))
def test_accuracies_of_few_classes_are_to_the_bit_those_of_arrays(by_class: list[tuple[int, int, int]]) -> None:
    counts = np.array(by_class).T
    plain = _of_plain_numbers(*counts.tolist())
    arrays = _macro(*_present(counts)), _micro(*_present(counts))
    assert plain is None or np.array_equal(plain, arrays, equal_nan=True)
    assert (plain is None) == (int(counts[:2].sum()) > MOST_PLAIN_COUNTS)


def test_accuracies_of_nothing_that_has_a_label_are_nan() -> None:
    of_arrays = _macro(*_present(np.zeros((3, 1), int)))
    assert all(math.isnan(value) for value in (*(_of_plain_numbers([0], [0], [0]) or ()), of_arrays))


def test_of_equal_scores_the_first_class_counts() -> None:
    assert score(torch.zeros(4, 3), torch.tensor([0, 1, 2, 0]), num_classes=3)["accuracy_micro"] == 0.5


def test_loss_is_the_mean_over_samples_however_they_are_batched() -> None:
    predictions, targets = torch.randn(1000, 5), torch.randint(5, (1000,))
    expected = F.cross_entropy(predictions.double(), targets).item()
    assert score(predictions, targets)["loss"] == pytest.approx(expected, rel=1e-6)
    assert per_sample_loss(predictions, targets).shape == (1000,)


def test_score_names_what_there_is() -> None:
    predictions, targets = torch.randn(20, 3), torch.randint(3, (20,))
    assert set(score(predictions, targets, num_classes=3)) == {"loss", "accuracy", "accuracy_micro"}
    own = {"mae": (lambda p, y: (p[:, 0] - y).abs().mean(), "minimize")}
    found = score(predictions, torch.randn(20), lambda p, y: (p[:, 0] - y) ** 2, own)
    assert set(found) == {"loss", "mae"}


def test_a_loss_of_one_number_counts_as_it_is() -> None:
    predictions, targets = torch.randn(20, 1), torch.randn(20, 1)
    assert score(predictions, targets, F.mse_loss)["loss"] == pytest.approx(F.mse_loss(predictions, targets).item())
    _, low, high = score_with_intervals(predictions, targets, F.mse_loss)["loss"]
    assert high > low + 0.1


def test_intervals_hold_the_scores_that_score_gives() -> None:
    predictions, targets = torch.randn(500, 4) + 1.5 * F.one_hot(torch.randint(4, (500,)), 4), torch.randint(4, (500,))
    own = {"share": (lambda p, y: (p.argmax(1) == y).float().mean(), "maximize")}
    plain = score(predictions, targets, None, own, 4)
    with_bounds = score_with_intervals(predictions, targets, None, own, 4)
    assert {name: value for name, (value, _, _) in with_bounds.items()} == plain
    assert all(low < value < high for value, low, high in with_bounds.values())
    assert with_bounds == score_with_intervals(predictions, targets, None, own, 4)


def test_resamples_on_which_a_metric_has_no_value_are_left_out() -> None:
    def recall_of_the_rare_class(p: torch.Tensor, y: torch.Tensor) -> float:
        if not (y == 1).any():
            raise ValueError("no such row")
        return float((p.argmax(1) == y)[y == 1].float().mean())

    predictions, targets = torch.randn(60, 2), torch.zeros(60, dtype=torch.long)
    targets[:2], predictions[0, 1], predictions[1, 1] = 1, 9.0, -9.0
    value, low, high = score_with_intervals(
        predictions, targets, None, {"own": (recall_of_the_rare_class, "maximize")}
    )["own"]
    assert (value, low, high) == (0.5, 0.0, 1.0)


def test_wilson_interval_is_that_of_the_literature() -> None:
    """Newcombe 1998 (doi:10.1002/(SICI)1097-0258), table I, method 3."""
    for hits, rows, low, high in (
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ):
        assert wilson_interval(hits, rows) == pytest.approx((hits / rows, low, high), abs=5e-5)


@pytest.mark.parametrize("name", ["loss", "accuracy", "accuracy_micro", "own"])
def test_intervals_cover_the_truth_as_often_as_they_say(name: str) -> None:
    """Of 300 samples of 400 rows from a population of known scores, 90 to 99 % of the intervals hold them."""
    generator = torch.Generator().manual_seed(1)
    y = torch.randint(3, (200_000,), generator=generator)
    p = torch.randn(200_000, 3, generator=generator) + F.one_hot(y, 3)
    own = {"own": (lambda p, y: (p.argmax(1) == y).float().mean(), "maximize")} if name == "own" else None
    truth = score(p, y, None, own, 3)[name]
    trials = 60 if own else 300
    covered = 0
    for _ in range(trials):
        rows = torch.randint(len(y), (400,), generator=generator)
        _, low, high = score_with_intervals(p[rows], y[rows], None, own, 3)[name]
        covered += low <= truth <= high
    assert 0.9 <= covered / trials <= 0.99 or (own and covered / trials >= 0.87)


def test_outputs_that_are_no_classes_are_refused_with_the_cure() -> None:
    with pytest.raises(ChopError, match="num_classes = None"):
        score(torch.randn(4, 1), torch.tensor([0, 7, 2, 3]), lambda p, y: (p[:, 0] - y) ** 2, num_classes=8)


def test_users_functions_that_fail_are_named() -> None:
    with pytest.raises(MetricError, match=r"the metric 'm' of the data failed \(.*test_scores.py:\d+\): ZeroDivision"):
        score(torch.randn(4, 2), torch.zeros(4).long(), None, {"m": (lambda p, y: 1 / 0, "minimize")})
    for found, told in (("hello", "'hello'"), (torch.ones(2), r"\(2,\)"), (None, "None")):
        with pytest.raises(MetricError, match=f"metric 'm' must return one number for all samples, not {told}"):
            score(torch.randn(4, 2), torch.zeros(4).long(), None, {"m": (lambda p, y, found=found: found, "minimize")})
    with pytest.raises(ChopError, match="the loss of the data failed"):
        score(torch.randn(4, 2), torch.zeros(4).long(), lambda p, y: p @ y)


@pytest.mark.parametrize("dtype", [torch.int64, torch.bool])
def test_several_labels_a_sample_are_told_what_they_need(dtype: torch.dtype) -> None:
    p, y = torch.randn(4, 3), torch.eye(4, 3).to(dtype)
    with pytest.raises(ChopError, match=r"several labels.* y.float\(\) and a loss"):
        score(p, y)
    with pytest.raises(ChopError, match=r"targets are torch.\w+: let the data set return y.float\(\)"):
        score(p, y, torch.nn.BCEWithLogitsLoss())


def test_few_rows_and_what_is_no_number_have_no_interval() -> None:
    p, y = torch.randn(30, 2), torch.arange(30) % 2
    own = {"own": (lambda p, y: p.mean(), "minimize"), "none": (lambda p, y: math.nan, "minimize")}
    for rows, names in ((9, ("loss", "own", "none")), (30, ("none",))):
        found = score_with_intervals(p[:rows], y[:rows], None, own, 2)
        without = [name for name, (_, low, high) in found.items() if math.isnan(low) and math.isnan(high)]
        assert tuple(without) == names
        assert interval_as_json(found["none"]) == {"value": None, "low_95": None, "high_95": None}


def test_a_score_that_all_resamples_have_has_no_interval() -> None:
    right = torch.arange(40) % 2
    own = {"own": (lambda p, y: (p.argmax(1) == y).float().mean(), "maximize")}
    found = score_with_intervals(F.one_hot(right, 2).float() * 9, right, None, own, 2)
    value, low, high = found["own"]
    assert value == 1 and math.isnan(low) and math.isnan(high)
    assert found["accuracy_micro"][1] < 0.95 and math.isnan(found["loss"][1])


def test_scores_that_are_no_number_stay_so() -> None:
    assert math.isnan(score(torch.full((4, 2), torch.nan), torch.zeros(4).long(), num_classes=2)["loss"])


def test_predict_joins_batches_of_any_form_without_gradients() -> None:
    class Sum(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.tensor(2.0))

        def forward(self, a: Tensor, b: Tensor) -> Tensor:
            return self.scale * (a + b)

    a, b, y = torch.randn(5, 2), torch.randn(5, 2), torch.arange(5)
    cuts = [slice(0, 3), slice(3, 5)]
    for batches in ([((a[c], b[c]), y[c]) for c in cuts], [({"b": b[c], "a": a[c]}, y[c]) for c in cuts]):
        predictions, targets = predict(Sum(), batches)
        assert torch.equal(predictions, 2 * (a + b))
        assert not predictions.requires_grad
        assert torch.equal(targets, y)


def test_the_interval_of_a_loss_stays_above_zero() -> None:
    losses = torch.tensor([0.0] * 19 + [2.0]).double()
    mean, low, high = mean_interval(losses)
    assert (mean, low) == (0.1, 0.0) and high == pytest.approx(0.1 + 1.959964 * float(losses.std()) / 20**0.5)
    assert mean_interval(losses - 1e-9)[1] < 0, "a score that may be negative"


def test_a_loss_of_the_data_is_called_once_for_each_batch() -> None:
    calls = []

    def loss(outputs: Tensor, targets: Tensor) -> Tensor:
        calls.append(len(targets))
        return (outputs - targets) ** 2

    outputs, targets = torch.randn(7, 1), torch.randn(7, 1)
    accumulator = task_of("regression", loss=loss).accumulator()
    for own, wanted in zip(outputs.split(3), targets.split(3), strict=True):
        accumulator.update(own, wanted)
    assert calls == [3, 3, 1]
    assert accumulator.result()["loss"] == pytest.approx(float(F.mse_loss(outputs, targets)), rel=1e-6)
