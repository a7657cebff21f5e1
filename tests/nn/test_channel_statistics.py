"""Mean and variance of channels: right, and the same to the bit in any order and layout."""

from __future__ import annotations

import pytest
import torch

from chop.nn import channel_statistics as module
from chop.nn.channel_statistics import channel_statistics, statistics_of_last


@pytest.mark.parametrize("shape", [(2, 3), (512, 5), (257, 4, 3), (40, 3, 8, 8), (6, 2, 4, 5, 3)])
@pytest.mark.parametrize("offset", [0.0, 100.0])
def test_they_are_those_of_torch(shape: tuple[int, ...], offset: float) -> None:
    x = torch.randn(shape) * 10.0 ** torch.randint(-3, 3, (shape[1], *[1] * (len(shape) - 2))) + offset
    own = x.double().movedim(1, 0).flatten(1)
    mean, variance = own.mean(1), own.var(1, unbiased=False)
    found = channel_statistics(x).double()
    assert ((found[0] - mean).abs() <= 1e-6 * variance.sqrt() + 2e-7 * mean.abs()).all()
    assert ((found[1] - variance).abs() <= 2e-6 * variance).all()


@pytest.mark.parametrize("offset", [0.3, 1e3, -1e6])
@pytest.mark.parametrize("samples", [37, 256, 1024])
def test_no_order_of_the_rows_moves_a_bit(samples: int, offset: float) -> None:
    x = torch.randn(samples, 7) * torch.logspace(-4, 4, samples)[:, None] + offset
    wanted = channel_statistics(x)
    for seed in range(10):
        order = torch.randperm(samples, generator=torch.Generator().manual_seed(seed))
        assert torch.equal(channel_statistics(x[order]), wanted)
    planes = torch.stack([x.T, x.flip(0).T], 1)
    assert torch.equal(statistics_of_last(planes)[..., 0], wanted)
    assert torch.equal(statistics_of_last(planes)[..., 1], wanted)


@pytest.mark.parametrize("at_once", [1, 30, 64, 2**20])
def test_sums_in_pieces_are_the_same_to_the_bit(at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    x = torch.randn(5, 7, 30) * torch.logspace(-3, 3, 7)[:, None]
    wanted = torch.stack([torch.stack([statistics_of_last(own) for own in rows], 1) for rows in x], 1)
    monkeypatch.setattr(module, "AT_A_TIME", at_once)
    assert torch.equal(statistics_of_last(x), wanted)
    assert torch.equal(statistics_of_last(x.transpose(0, 1)), wanted.transpose(1, 2))


def test_channels_without_any_spread() -> None:
    x = torch.tensor([[0.0, 3.0, -2.0]]).repeat(9, 1)
    assert channel_statistics(x).tolist() == [[0.0, 3.0, -2.0], [0.0, 0.0, 0.0]]
    assert channel_statistics(x.double()).dtype == torch.float64
