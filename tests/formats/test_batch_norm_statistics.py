"""Statistics of few samples under a plan, corrected by what the float network has on the same and on all samples."""

from __future__ import annotations

import torch
from torch import Tensor

from chop.formats import BatchNormStatistics, FloatStatistics, Integer, MeasuredTensor, StatisticsBesideFloat
from chop.nn.channel_statistics import channel_statistics


def in_float(running: Tensor, seen: Tensor, samples: int = 64) -> FloatStatistics:
    return FloatStatistics(MeasuredTensor(running), MeasuredTensor(seen), samples)


def test_statistics_of_few_samples_come_nearer_to_those_of_all() -> None:
    torch.manual_seed(0)
    x = torch.randn(20_000, 6).abs() * torch.tensor([0.5, 1.0, 2.0, 0.5, 1.0, 2.0]) - 0.5
    rounded = Integer(4, 1).quantize(x)
    running, wanted = channel_statistics(x), channel_statistics(rounded)
    errors = []
    for rows in torch.randperm(len(x))[: 40 * 64].split(64):
        found = channel_statistics(rounded[rows])
        corrected = in_float(running, channel_statistics(x[rows])).corrected(found)
        errors.append(torch.stack([(own - wanted).square() for own in (found, corrected)]))
    plain, corrected = torch.stack(errors).mean((0, 3))
    assert corrected[0] < plain[0] / 10 and corrected[1] < plain[1] / 1.5


def test_a_network_without_formats_keeps_its_own_statistics_to_the_bit() -> None:
    torch.manual_seed(1)
    x = torch.randn(500, 7) * 3 + 1
    running, seen = channel_statistics(x), channel_statistics(x[:64])
    assert torch.equal(in_float(running, seen).corrected(seen), running)


def test_configurations_at_once_are_corrected_as_each_alone() -> None:
    torch.manual_seed(2)
    x = torch.randn(500, 7)
    own = in_float(channel_statistics(x), channel_statistics(x[:64]))
    found = torch.stack([channel_statistics(Integer(width, 1).quantize(x[:64])) for width in (2, 3, 4)], 1)
    for number, together in enumerate(own.corrected(found).unbind(1)):
        assert torch.equal(together, own.corrected(found[:, number]))


def test_a_channel_stays_as_it_was_found_where_the_network_has_statistics_of_something_else() -> None:
    running = torch.tensor([[0.3, 9.0, 0.0, 0.0], [1.1, 1.0, 9.0, 0.1]])
    seen = torch.tensor([[0.2, 0.0, 0.0, 0.0], [1.0, 1.0, 1.0, 1.0]])
    found = torch.tensor([[0.5, 0.5, 0.5, 0.5], [1.0, 1.0, 1.0, 1.0]])
    corrected = in_float(running, seen).corrected(found)
    torch.testing.assert_close(corrected[:, 0], torch.tensor([0.6, 1.1]))
    assert torch.equal(corrected[:, 1:], found[:, 1:])


def test_a_channel_that_is_constant_in_the_float_network_is_taken_as_it_was_found() -> None:
    found = torch.tensor([[0.5], [0.25]])
    assert torch.equal(in_float(torch.zeros(2, 1), torch.zeros(2, 1)).corrected(found), found)


def test_closed_statistics_hold_what_was_corrected_and_nothing_of_the_float_network() -> None:
    running, seen = torch.tensor([[0.3], [1.1]]), torch.tensor([[0.2], [1.0]])
    closed = StatisticsBesideFloat(in_float=in_float(running, seen)).closed(seen)
    assert closed == BatchNormStatistics(MeasuredTensor(running[0]), MeasuredTensor(running[1]))
    assert closed.reopened() == BatchNormStatistics()


def test_norms_that_do_not_fit_the_samples_are_known_as_such() -> None:
    fitting, moved = torch.tensor([[1.01, 2.0], [1.0, 1.1]]), torch.tensor([[1.01, 9.0], [1.0, 1.1]])
    seen = torch.tensor([[1.0, 2.0], [1.0, 1.0]])
    found = [FloatStatistics(MeasuredTensor(own), MeasuredTensor(seen), 512) for own in (fitting, moved)]
    assert [own.are_of_one_network for own in found] == [True, False]
