"""Scores of targets without labels, for tokens, and of outputs (n, 1) for targets (n,), against plain torch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torchmetrics.classification import MulticlassAccuracy

from chop.errors import ChopError
from chop.scoring.classification import Classification
from tests.scores import score, score_with_intervals

N = 40
P, Y = torch.randn(N, 1, generator=torch.Generator().manual_seed(1)), torch.linspace(-3, 3, N)
MEAN = float(((P[:, 0] - Y) ** 2).mean())


@pytest.mark.parametrize(
    "loss",
    [
        F.mse_loss,
        lambda p, y: (p - y) ** 2,
        lambda p, y: ((p - y) ** 2).mean(),
        lambda p, y: (p[:, 0] - y) ** 2,
        lambda p, y: (p[..., 0] - y) ** 2,
        lambda p, y: (p.mean(-1) - y) ** 2,
        lambda p, y: (p.squeeze() - y) ** 2,
    ],
)
@pytest.mark.parametrize("column_of", ["outputs", "targets"])
def test_a_column_and_a_vector_are_of_one_shape(loss: Callable[[Tensor, Tensor], Tensor], column_of: str) -> None:
    def turned(p: Tensor, y: Tensor) -> Tensor:
        return loss(p, y) if column_of == "outputs" else loss(y, p)

    pair = (P, Y) if column_of == "outputs" else (Y, P)
    own: dict[str, Any] = {"mine": (lambda p, y: turned(p, y).mean(), "minimize")}
    assert score(*pair, turned, own) == pytest.approx({"loss": MEAN, "mine": MEAN})
    for value, low, high in score_with_intervals(*pair, turned, own).values():
        assert value == pytest.approx(MEAN) and low < value < high < 3 * MEAN


def test_broadcasting_that_nothing_can_see_is_refused() -> None:
    with pytest.raises(ChopError, match="broadcasting"):
        score(P, Y, lambda p, y: float(((p.numpy() - y.numpy()) ** 2).mean()))


def test_channels_are_no_samples() -> None:
    images, masks = torch.randn(5, 1, 3, 4), torch.randn(5, 3, 4)
    assert score(images, masks, F.mse_loss)["loss"] == pytest.approx(F.mse_loss(images[:, 0], masks).item())


@pytest.mark.parametrize("found", [torch.ones(3), (1, 2), None])
def test_a_loss_that_is_neither_one_number_nor_one_a_sample_is_refused(found: Any) -> None:
    with pytest.raises(ChopError, match="one number"):
        score(P, Y, lambda p, y: found)


@pytest.mark.parametrize("dtype", [torch.int64, torch.int32, torch.int8])
def test_samples_without_a_label_count_nowhere(dtype: torch.dtype) -> None:
    predictions, targets = torch.randn(400, 3), torch.randint(3, (400,))
    targets[::4] = -100
    found = score(predictions, targets.to(dtype), None, None, 3)
    kept = targets >= 0
    assert found["loss"] == pytest.approx(F.cross_entropy(predictions, targets).item())
    macro = MulticlassAccuracy(3)(predictions[kept], targets[kept]).item()
    assert found["accuracy"] == pytest.approx(macro)
    own = score(predictions, targets, lambda p, y: F.cross_entropy(p, y, reduction="none"))
    assert own["loss"] == pytest.approx(found["loss"])


def test_uint8_targets_do_not_overflow() -> None:
    targets = torch.randint(200, (3000,))
    found = score(F.one_hot(targets, 200).float(), targets.to(torch.uint8), None, None, 200)
    assert found["accuracy"] == 1.0


@pytest.mark.parametrize("is_last", [True, False])
def test_tokens_count_each_for_itself(is_last: bool) -> None:
    predictions, targets = torch.randn(30, 5, 3), torch.randint(3, (30, 5))
    targets[torch.rand(30, 5) < 0.3] = -100
    given = predictions if is_last else predictions.movedim(-1, 1)
    found = score(given, targets, None, None, 3)
    assert found["loss"] == pytest.approx(F.cross_entropy(predictions.flatten(0, 1), targets.flatten()).item())
    kept = targets >= 0
    assert found["accuracy"] == pytest.approx(MulticlassAccuracy(3)(predictions[kept], targets[kept]).item())
    with_bounds = score_with_intervals(given, targets, None, None, 3)
    assert {name: value for name, (value, _, _) in with_bounds.items()} == pytest.approx(found)


def test_classes_in_an_unknown_dimension_are_refused() -> None:
    with pytest.raises(ChopError, match="the second or the last dimension"):
        score(torch.randn(4, 3, 3), torch.randint(3, (4, 3)))


def test_targets_beyond_the_outputs_are_refused() -> None:
    with pytest.raises(ChopError, match="a target is 5"):
        score(torch.randn(4, 3), torch.tensor([0, 1, 2, 5]))


def test_outputs_of_one_sample_that_are_squeezed_can_be_trained_on() -> None:
    outputs, classes = torch.randn(3), torch.tensor([1])
    loss = Classification(num_classes=3).loss(outputs.requires_grad_(), classes)
    assert loss is not None
    torch.testing.assert_close(loss, F.cross_entropy(outputs[None], classes))
