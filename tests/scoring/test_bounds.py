"""Bounds of metrics on all rows: as often wrong as they may be, exact at the end, narrow where networks agree."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from chop.scoring.bounds import UNKNOWN, SampleValues, bounds
from tests.scores import score

ROWS, SEEN, DRAWS, ERROR = 1000, 150, 1500, 0.02
CLASSES = 4


def hits(share: float) -> Tensor:
    return torch.rand(ROWS) < share


def values_of(kind: str) -> tuple[SampleValues, SampleValues | None]:
    """The values of a network, and of a rival to compare with, on all rows."""
    own, other = hits(0.7), hits(0.75)
    theirs = torch.where(hits(0.85), own, other)  # they agree on most rows
    return {
        "hits": (SampleValues(own, is_hit=True), None),
        "rare hits": (SampleValues(hits(0.02), is_hit=True), None),
        "paired hits": (SampleValues(own, is_hit=True), SampleValues(theirs, is_hit=True)),
        "few differ": (SampleValues(own, is_hit=True), SampleValues(own ^ hits(0.01), is_hit=True)),
        "classes": (SampleValues(own, is_hit=True, classes=CLASSES), None),
        "paired classes": (
            SampleValues(own, is_hit=True, classes=CLASSES),
            SampleValues(theirs, is_hit=True, classes=CLASSES),
        ),
        "loss": (SampleValues(-torch.rand(ROWS).log()), None),
        "paired loss": (SampleValues(own.float() + 0.3 * torch.rand(ROWS)), SampleValues(own.float())),
    }[kind]


def mean_of(values: SampleValues, targets: Tensor) -> float:
    if not values.classes:
        return float(values.values.double().mean())
    return float(torch.stack([values.values[targets == c].double().mean() for c in range(CLASSES)]).mean())


def ordered(values: SampleValues, order: Tensor) -> SampleValues:
    return SampleValues(values.values[order], values.is_hit, values.classes)


@pytest.mark.parametrize(
    "kind",
    ["hits", "rare hits", "paired hits", "few differ", "classes", "paired classes", "loss", "paired loss"],
)
def test_a_bound_is_wrong_no_more_often_than_it_says(kind: str) -> None:
    own, known = values_of(kind)
    targets = torch.randint(CLASSES, (ROWS,))
    truth = mean_of(own, targets)
    too_low = too_high = 0
    for _ in range(DRAWS):
        order = torch.randperm(ROWS)
        seen = SampleValues(own.values[order[:SEEN]], own.is_hit, own.classes)
        low, high = bounds(seen, targets[order], ERROR, ordered(known, order) if known else None)
        too_low += high < truth
        too_high += low > truth
    assert max(too_low, too_high) / DRAWS < 1.5 * ERROR


@pytest.mark.parametrize("classes", [0, CLASSES])
@pytest.mark.parametrize("is_paired", [False, True])
def test_with_all_rows_seen_a_bound_is_the_metric(classes: int, is_paired: bool) -> None:
    predictions, targets = torch.randn(ROWS, CLASSES), torch.randint(CLASSES, (ROWS,))
    own = SampleValues(predictions.argmax(1) == targets, is_hit=True, classes=classes)
    known = SampleValues(hits(0.5), is_hit=True, classes=classes) if is_paired else None
    metric = score(predictions, targets, num_classes=CLASSES)["accuracy" if classes else "accuracy_micro"]
    assert bounds(own, targets, ERROR, known) == pytest.approx((metric,) * 2, abs=1e-6)


def test_a_rival_on_the_same_rows_narrows_a_bound() -> None:
    own, known = values_of("few differ")
    seen, targets = SampleValues(own.values[:SEEN], is_hit=True), torch.zeros(ROWS, dtype=torch.long)
    (low, high), (near_low, near_high) = bounds(seen, targets, ERROR), bounds(seen, targets, ERROR, known)
    assert near_high - near_low < 0.5 * (high - low)


def test_rows_that_all_agree_leave_a_doubt() -> None:
    seen, targets = SampleValues(torch.ones(SEEN, dtype=torch.bool), is_hit=True), torch.zeros(ROWS, dtype=torch.long)
    known = SampleValues(torch.ones(ROWS, dtype=torch.bool), is_hit=True)
    assert bounds(seen, targets, ERROR)[0] < 0.99
    low, high = bounds(seen, targets, ERROR, known)
    assert low < 0.99 < 1.01 < high


def test_a_class_of_which_nothing_was_seen_says_nothing() -> None:
    targets = torch.tensor([0] * 50 + [1] * 50)
    assert bounds(SampleValues(hits(0.5)[:50], is_hit=True, classes=2), targets, ERROR) == UNKNOWN
    assert bounds(SampleValues(hits(0.5)[:60], is_hit=True, classes=2), targets, ERROR) != UNKNOWN
    assert bounds(SampleValues(hits(0.5)[:60], is_hit=True, classes=1), targets, ERROR) == UNKNOWN
