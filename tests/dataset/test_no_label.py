"""Targets that mean "no label" in the data's own way: left out of everything, as -100 is."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from chop.dataset import MaseDataModule
from chop.dataset.no_label import ignored_label
from chop.errors import ChopError, DatasetError
from tests.dataset.test_what_data_may_be import parts, set_up
from tests.scores import score

P = torch.randn(10, 3, generator=torch.Generator().manual_seed(0))


def with_none(label: int, dtype: torch.dtype, **more: Any) -> MaseDataModule:
    """Data in which the first two targets of each batch mean no label."""

    def form(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        y = y.clone().to(dtype)
        y[:2] = label
        return x, y

    return set_up(parts(form, **more))


def scored(data: MaseDataModule, predictions: Tensor, targets: Tensor) -> dict[str, float]:
    return score(predictions, targets, data.loss, data.metrics, data.dataset_info.num_classes)


class Within(nn.Module):
    def __init__(self, label: int) -> None:
        super().__init__()
        self.inner = nn.CrossEntropyLoss(ignore_index=label)

    def forward(self, p: Tensor, y: Tensor) -> Tensor:
        return 2 * self.inner(p, y)


LOSSES: dict[str, Any] = {
    "mean": lambda label: nn.CrossEntropyLoss(ignore_index=label),
    "each": lambda label: nn.CrossEntropyLoss(ignore_index=label, reduction="none"),
    "partial": lambda label: partial(F.cross_entropy, ignore_index=label, reduction="none"),
    "method": lambda label: nn.CrossEntropyLoss(ignore_index=label).forward,
}


@pytest.mark.parametrize(
    ("label", "dtype"), [(-1, torch.int64), (-1, torch.int8), (255, torch.uint8), (0, torch.int32)]
)
@pytest.mark.parametrize("kind", LOSSES)
def test_what_the_loss_ignores_is_left_out(kind: str, label: int, dtype: torch.dtype) -> None:
    data = with_none(label, dtype, loss=LOSSES[kind](label))
    (_, y), *_ = data.batches("val")
    found = scored(data, P[: len(y)], y)
    assert data.dataset_info.num_classes == 3 and label not in y.tolist()
    assert found["loss"] == pytest.approx(F.cross_entropy(P[: len(y)], y).item())


@pytest.mark.parametrize("each", ["mean", "none"])
def test_pixels_without_a_label_are_left_out(each: str) -> None:
    p, y = torch.randn(6, 3, 5, 4), torch.randint(0, 3, (6, 5, 4))
    y[:, :, :2] = 255
    batches = {part: [(torch.zeros(6, 2), y)] for part in ("train", "val", "test")}
    data = set_up(batches | {"loss": nn.CrossEntropyLoss(ignore_index=255, reduction=each)})
    (_, read), *_ = data.batches("val")
    assert scored(data, p, read)["loss"] == pytest.approx(F.cross_entropy(p, y, ignore_index=255).item())


def test_data_may_say_what_means_no_label() -> None:
    seen: list[Tensor] = []
    metrics = {"mine": (lambda p, y: seen.append(y) or 0.5, "maximize")}
    data = with_none(-1, torch.int64, ignore_index=-1, num_classes=3, metrics=metrics)
    (_, y), *_ = data.batches("val")
    assert len(y) == 6 and scored(data, P[:6], y)["loss"] == pytest.approx(F.cross_entropy(P[:6], y).item())
    data = with_none(-1, torch.int64, ignore_index=-1, num_classes=None, metrics=metrics, loss=F.cross_entropy)
    (_, y), *_ = data.batches("val")
    with pytest.raises(ChopError, match="-1 is out of bounds"):  # the loss gets the data's own label
        scored(data, P, y)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (
            {"ignore_index": -1, "loss": nn.CrossEntropyLoss(ignore_index=255)},
            "ignore_index = -1, but its loss ignores 255",
        ),
        ({"ignore_index": "-1"}, "ignore_index is '-1'"),
        ({}, "ignore_index = -1 if it means no label"),
        ({"num_classes": 3}, "what build_data returns as ignore_index"),
    ],
)
def test_what_is_not_clear_is_refused(more: dict[str, Any], message: str) -> None:
    with pytest.raises(DatasetError, match=message):
        with_none(-1, torch.int64, **more)


def test_a_label_is_found_wherever_a_loss_has_it() -> None:
    def own(p: Tensor, y: Tensor, ignore_index: int = 7) -> Tensor:
        return F.cross_entropy(p, y, ignore_index=ignore_index)

    assert ignored_label(own) == 7
    assert ignored_label(partial(own, ignore_index=9)) == 9
    assert ignored_label(Within(255)) == 255
    assert ignored_label(partial(Within(255))) == 255
    assert ignored_label(F.mse_loss) is None and ignored_label(None) is None
    assert ignored_label(nn.ModuleList([Within(1), Within(2)])) is None
