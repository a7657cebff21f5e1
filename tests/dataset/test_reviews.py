"""reviews: drawn alike every time, balanced, and what its classes say."""

from __future__ import annotations

import pytest
import torch

from chop.dataset import MaseDataModule, get_dataset_info
from chop.dataset.reviews import BUT, FIRST_NEUTRAL, FIRST_OPINION, NOT, VERY, VOCABULARY, load_reviews, opinion

PARTS = {"train": 40_000, "val": 4_000, "test": 4_000}
GOOD, BAD, SAY_NOTHING = FIRST_OPINION, FIRST_NEUTRAL - 1, FIRST_NEUTRAL


def test_parts_have_their_sizes_and_both_classes_alike() -> None:
    data = MaseDataModule("reviews", batch_size=128)
    data.setup()
    for part, rows in PARTS.items():
        x, y = (torch.cat(column) for column in zip(*data.batches(part), strict=True))
        assert x.shape == (rows, 12)
        assert (x.dtype, y.dtype) == (torch.int64, torch.int64)
        assert 0 <= x.min() <= x.max() < VOCABULARY
        assert y.bincount().tolist() == [rows // 2] * 2
    info = get_dataset_info("reviews")
    assert (info.num_features, info.num_classes, info.rows) == (12, 2, sum(PARTS.values()))


def test_sentences_are_the_ones_that_the_weights_know_whatever_the_global_seed() -> None:
    first = load_reviews().train.x
    torch.manual_seed(7)
    assert torch.equal(first, load_reviews().train.x)
    assert first[0].tolist() == [1, 29, 18, 6, 0, 0, 7, 4, 41, 0, 42, 28]
    assert int(first.sum()) == 7_059_187


def test_no_sentence_is_there_twice() -> None:
    parts = load_reviews()
    assert len(torch.cat([getattr(parts, part).x for part in PARTS]).unique(dim=0)) == sum(PARTS.values())


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([GOOD, SAY_NOTHING], 1),
        ([BAD, GOOD], -2),
        ([NOT, GOOD], -1),
        ([NOT, SAY_NOTHING, GOOD, GOOD], 0),
        ([VERY, BAD], -6),
        ([NOT, VERY, BAD], 6),
        ([NOT, NOT, GOOD], 1),
        ([BAD, BUT, GOOD, GOOD], 1),
    ],
)
def test_an_opinion_is_what_its_words_say_together(words: list[int], expected: float) -> None:
    assert opinion(torch.tensor([words])).item() == expected


def test_classes_are_the_signs_of_opinions_and_words_alone_do_not_tell_them() -> None:
    rows = load_reviews().val
    assert torch.equal((opinion(rows.x) > 0).long(), rows.y)
    without = rows.x.masked_fill(rows.x < FIRST_OPINION, SAY_NOTHING)
    assert 0.6 < ((opinion(without) > 0).long() == rows.y).float().mean() < 0.75
