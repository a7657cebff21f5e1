"""Losses and metrics that pair all outputs with all targets, or leave out targets unnoticed, are refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from chop.errors import ChopError
from chop.scoring.own_function_checks import check_own_functions
from tests.scores import score

N = 33
P = torch.randn(N, 2, generator=torch.Generator().manual_seed(1))
Y = torch.linspace(-3, 3, N)


def cox(p: Tensor, y: Tensor) -> Tensor:
    """A partial likelihood: each sample with all that are at risk, which is meant."""
    at_risk = (y.unsqueeze(1) <= y.unsqueeze(0)).float()
    return (torch.log(at_risk @ p[:, 0].exp()) - p[:, 0]).mean()


PAIRED: dict[str, Any] = {
    "each": lambda p, y: (p[:, :1] - y) ** 2,
    "mean": lambda p, y: ((p[:, :1] - y) ** 2).mean(),
    "torch's own": lambda p, y: F.mse_loss(p[:, :1], y),
    "of copies": lambda p, y: F.mse_loss(p.exp()[:, :1], 2 * y),
    "mean over outputs": lambda p, y: (p.mean(1, keepdim=True) - y).abs().sum(),
    "two heads": lambda p, y: F.gaussian_nll_loss(p[:, :1], y, p[:, 1:].exp()),
    "beside a sound one": lambda p, y: ((p[:, :1] - y) ** 2).mean() + F.mse_loss(p[:, 1], y),
}
IN_NUMPY: dict[str, Any] = {
    "numpy": lambda p, y: float(((p[:, :1].numpy() - y.numpy()) ** 2).mean()),
    "numpy, explained": lambda p, y: 1 - ((p[:, :1].numpy() - y.numpy()) ** 2).sum() / ((y - y.mean()) ** 2).sum(),
    "numpy, by sample": lambda p, y: torch.from_numpy(np.abs(np.asarray(p)[:, :1] - np.asarray(y)).mean(1)),
    "dlpack": lambda p, y: float(np.abs(np.from_dlpack(p)[:, :1] - np.from_dlpack(y)).max()),
}
PAIRED |= IN_NUMPY
SOUND: dict[str, Any] = {
    "column": lambda p, y: (p[:, 0] - y) ** 2,
    "columns": lambda p, y: (p - y.unsqueeze(1)) ** 2,
    "kept column": lambda p, y: (p[:, :1] - y[:, None]).square(),
    "risk": cox,
    "ranking": lambda p, y: ((p[:, 0][:, None] - p[:, 0]) * (y[:, None] - y).sign()).relu().mean(),
    "distances": lambda p, y: torch.cdist(p, p).mean() + 0 * y.sum(),
    "similarity": lambda p, y: (p @ p.T).softmax(1).mean() + 0 * y.sum(),
    "weighted": lambda p, y: (p[:, 0] - y) ** 2 * torch.ones(1),
    "numpy": lambda p, y: float(((p[:, 0].numpy() - y.numpy()) ** 2).mean()),
    "bias": lambda p, y: float(p[:, 0].numpy().mean() - y.numpy().mean()),
    "of outputs alone": lambda p, y: float(p.numpy().mean()),
    "sorted": lambda p, y: float(np.abs(np.sort(p[:, 0].numpy()) - np.sort(y.numpy(), 0).ravel()).mean()),
    "one hot": lambda p, y: (p - F.one_hot((y > 0).long(), 2)) ** 2,
}


@pytest.mark.parametrize("name", PAIRED)
def test_pairs_of_outputs_and_targets_are_refused(name: str) -> None:
    for function, metrics in ((PAIRED[name], {}), (None, {"mine": (PAIRED[name], "minimize")})):
        with pytest.raises(ChopError, match="broadcasting"):
            check_own_functions(function, metrics, P, Y)


def test_a_column_of_targets_is_paired_too() -> None:
    with pytest.raises(ChopError, match="broadcasting"):
        check_own_functions(lambda p, y: F.mse_loss(p[:, 0], y), {}, P, Y.unsqueeze(1))


@pytest.mark.parametrize("name", SOUND)
def test_what_is_meant_is_let_through(name: str) -> None:
    check_own_functions(SOUND[name], {"mine": (SOUND[name], "minimize")}, P, Y)


@pytest.mark.parametrize("shape", [(N,), (N, 1)])
def test_outputs_with_more_dimensions_of_one_are_of_the_targets_shape(shape: tuple[int, ...]) -> None:
    p = P[:, 0].reshape(N, 1, 1)
    y = Y.reshape(shape)
    check_own_functions(F.mse_loss, {}, p, y)
    assert score(p, y, F.mse_loss)["loss"] == pytest.approx(F.mse_loss(P[:, 0], Y).item())


def ignoring(label: int) -> Any:
    return lambda p, y: F.cross_entropy(p, y, ignore_index=label, reduction="none")


@pytest.mark.parametrize("label", [-1, -7, 255])
def test_a_loss_that_leaves_out_a_label_unnoticed_is_refused(label: int) -> None:
    classes = torch.arange(N) % 2
    classes[::4] = label
    with pytest.raises(ChopError, match=f"ignore_index = {label}"):
        check_own_functions(ignoring(label), {}, P, classes)
    check_own_functions(lambda p, y: ignoring(label)(p, y).mean(), {}, P, classes)


def test_margins_that_are_kept_are_no_labels_left_out() -> None:
    signs = torch.arange(N) % 2 * 2 - 1
    right = 10 * signs.float().unsqueeze(1).repeat(1, 2)
    check_own_functions(lambda p, y: (1 - p[:, 0] * y).relu(), {}, right, signs)


def through_numpy(p: Tensor, y: Tensor) -> float:
    p.numpy()[:] *= -1
    return 0.5


def through_data(p: Tensor, y: Tensor) -> Tensor:
    y.data.mul_(-1)
    return (p[:, 0] - y) ** 2


@pytest.mark.parametrize("function", [through_numpy, through_data])
def test_writing_that_torch_does_not_count_is_refused(function: Any) -> None:
    for loss, metrics in ((function, {}), (None, {"mine": (function, "maximize")})):
        with pytest.raises(ChopError, match="writes on its arguments"):
            check_own_functions(loss, metrics, P, Y)
