"""The loss on another network's outputs, of every task: against torch written out."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from chop.scoring.task import task_of


def entropy(scores: Tensor, taught: Tensor) -> Tensor:
    """The mean of -sum p log q over rows `(rows, classes)`."""
    return -(taught.softmax(1) * scores.log_softmax(1)).sum(1).mean()


def test_classes_are_imitated_by_their_probabilities() -> None:
    scores, taught, y = torch.randn(7, 3), torch.randn(7, 3), torch.tensor([0, 1, 2, -100, 1, 1, 0])
    kept = y != -100
    found = task_of("cls", 3).imitation_loss(scores, taught, y)
    torch.testing.assert_close(found, entropy(scores[kept], taught[kept]))


def test_pixels_without_a_label_are_left_out() -> None:
    scores, taught = torch.randn(2, 4, 3, 5), torch.randn(2, 4, 3, 5)
    y = torch.randint(4, (2, 3, 5))
    y[0, 0] = -100
    rows = [values.movedim(1, -1)[y != -100] for values in (scores, taught)]
    torch.testing.assert_close(task_of("segmentation", 4).imitation_loss(scores, taught, y), entropy(*rows))


def test_a_language_model_imitates_the_distribution_of_the_next_token() -> None:
    scores, taught, tokens = torch.randn(2, 5, 11), torch.randn(2, 5, 11), torch.randint(11, (2, 5))
    tokens[1, 3] = -100
    following = tokens[:, 1:] != -100
    found = task_of("lm").imitation_loss(scores, taught, tokens)
    torch.testing.assert_close(found, entropy(scores[:, :-1][following], taught[:, :-1][following]))


def test_numbers_and_own_losses_without_classes_are_imitated_by_squared_error() -> None:
    outputs, taught = torch.randn(6, 2), torch.randn(6, 2)
    for task in (task_of("regression"), task_of("cls", None, torch.nn.BCEWithLogitsLoss())):
        torch.testing.assert_close(task.imitation_loss(outputs, taught, outputs), F.mse_loss(outputs, taught))


def test_a_batch_without_any_label_has_no_loss() -> None:
    assert task_of("cls", 3).imitation_loss(torch.randn(2, 3), torch.randn(2, 3), torch.tensor([-100, -100])) is None
