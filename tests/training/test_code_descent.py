"""The descent on codes against networks written out, and what it must find."""

from __future__ import annotations

import copy
import math
from itertools import pairwise

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from chop.training import coded_samples
from chop.training.code_costs import EBOPS, LUTS, CodeCosts
from chop.training.code_descent import CodeDescent
from chop.training.coded_samples import CodedLayer
from chop.training.soft_loss import SoftLoss
from chop.training.width_chain import Chain

FACTOR = 1e-4


def made(half_up: bool = False) -> tuple[Chain, Tensor, Tensor]:
    torch.manual_seed(0)
    weights = [torch.randn(o, i) * 0.5 for i, o in pairwise((6, 5, 4, 3))]
    chain = Chain(weights, [torch.randn(len(own)) * 0.2 for own in weights], [True] * 3, (2.0, 3.0), half_up=half_up)
    chain.parameters[chain.count : -chain.inputs] += torch.randn(chain.count + chain.inputs) * 1.5
    chain.tops[[1, 4, 7, 12]] = torch.tensor([0.0, 1.0, -1.0, 0.0])
    x = torch.randn(6, 3000)
    chain.measure_ranges(x)
    return chain, x, F.one_hot((torch.randn(3, 6) @ x).argmax(0), 3).t().float()


def descent_of(layers: list[CodedLayer], kept: Tensor, x: Tensor, shares: Tensor) -> CodeDescent:
    return CodeDescent(layers, x[kept].numpy(), shares.numpy(), FACTOR)


def outputs_of(descent: CodeDescent) -> NDArray[np.float32]:
    return np.concatenate([part.results[-1] for part in descent.parts], axis=1)


def signed_digits(code: int) -> int:
    """The digits of a whole number in canonical signed form, the last one first."""
    found = 0
    while code:
        if code % 2:
            code -= 2 - code % 4
            found += 1
        code //= 2
    return found


def written_out(layers: list[CodedLayer], x: Tensor, shares: Tensor, costs: CodeCosts = EBOPS) -> tuple[float, float]:
    """The loss in float64, and the cost by Python's whole numbers."""
    cost, hidden = 0.0, x.double()
    for number, own in enumerate(layers):
        scale = 2.0 ** torch.from_numpy(own.fraction).double()[:, None]
        codes = torch.floor(hidden * scale + 0.5) if own.half_up else (hidden * scale).round()
        for line, fraction, top in zip(codes, own.fraction, own.top, strict=True):
            reach = int(2.0 ** float(fraction + top)) if np.isfinite(top) else 2**40
            line.clamp_(-reach if number == 0 else 0, max(reach - 1, 0))
        bits = [
            max(int(line.max()), -int(line.min()) - 1, 0).bit_length() + int(number == 0 and bool((codes < 0).any()))
            for line in codes
        ]
        for value, column in ((value, column) for row in own.weight for column, value in enumerate(row)):
            code = abs(int(float(value) * 2**30))
            cost += costs.product * len(f"{code:b}".strip("0")) * bits[column] + costs.digit * signed_digits(code)
        hidden = torch.from_numpy(own.weight).double() @ (codes / scale) + torch.from_numpy(own.bias).double()[:, None]
        hidden = hidden.relu() if number + 1 < len(layers) else hidden
    return float(F.cross_entropy(hidden.t(), shares.t().double())), cost


@pytest.mark.parametrize("half_up", [False, True])
def test_loss_and_cost_fall_and_are_those_written_out(half_up: bool) -> None:
    chain, x, shares = made(half_up)
    layers, left = chain.coded()
    descent = descent_of(layers, left[0], x, shares)
    before = descent.loss + FACTOR * descent.cost
    assert (descent.loss, descent.cost) == pytest.approx(written_out(layers, x[left[0]], shares), rel=1e-5)
    assert descent.descend(400, seed=0) > 10
    assert (descent.loss, descent.cost) == pytest.approx(written_out(layers, x[left[0]], shares), rel=1e-5)
    assert descent.loss + FACTOR * descent.cost < before - 0.01


def test_a_descent_by_luts_has_fewer_digits_at_no_more_loss_and_estimated_luts() -> None:
    """Each ends where no change that is tried lowers its own sum; that of LUTs is then lower than behind EBOPs."""
    chain, x, shares = made()
    sums, digits = [], []
    for costs in (EBOPS, LUTS):
        layers, left = copy.deepcopy(chain.coded())
        descent = CodeDescent(layers, x[left[0]].numpy(), shares.numpy(), 1e-3, costs=costs)
        descent.descend(20_000, seed=0)
        wanted = written_out(layers, x[left[0]], shares, costs)
        assert (descent.loss, descent.cost) == pytest.approx(wanted, rel=1e-5)
        loss, luts = written_out(layers, x[left[0]], shares, LUTS)
        sums.append(loss + 1e-3 * luts)
        digits.append(sum(signed_digits(abs(int(v * 2**30))) for own in layers for v in own.weight.ravel().tolist()))
    assert sums[1] < sums[0]
    assert digits[1] < digits[0]


@pytest.mark.parametrize("half_up", [False, True])
def test_the_chain_goes_on_with_what_was_found(half_up: bool) -> None:
    """Taken back, the network has the loss and the cost of the descent; unchanged, it is what it was."""
    chain, x, shares = made(half_up)
    before, cost = chain.parameters.clone(), chain.ebops()
    layers, left = chain.coded()
    chain.take(layers, left)
    assert torch.equal(chain.parameters, before)
    descent = descent_of(layers, left[0], x, shares)
    descent.descend(400, seed=0)
    chain.take(layers, left)
    chain.measure_ranges(x)
    assert float(F.cross_entropy(chain.outputs(x).t(), shares.t())) == pytest.approx(descent.loss, rel=1e-5)
    assert chain.ebops() <= descent.cost  # the chain leaves out what nothing reads
    assert chain.ebops() < cost


def one_layer(weight: list[list[float]], fraction: list[float]) -> CodedLayer:
    array, inputs = np.array(weight, np.float32), np.array(fraction, np.float32)
    return CodedLayer(array, np.zeros(len(array), np.float32), inputs, np.full_like(inputs, np.inf), False, True)


def test_an_input_saturates_where_few_samples_are_far_out_and_grows_where_many_are() -> None:
    """x is within 1 but for 3 of 4,000 samples, each one far out; a top of -2 is too low for it."""
    torch.manual_seed(0)
    x = torch.rand(1, 4000) * 2 - 1
    is_first = (x[0] + 0.1 * torch.randn(4000) > 0).float()
    shares = torch.stack([is_first, 1 - is_first])
    x[0, :3] = torch.tensor([90.0, -70.0, 80.0])
    for top in (math.inf, -2.0):
        layer = one_layer([[8.0], [0.0]], [2.0])
        layer.top[0] = top
        descent = CodeDescent([layer], x.numpy(), shares.numpy(), 1e-4)
        bits = float(descent.bits[0][0])
        descent.descend(2000, seed=0)
        assert -2 < layer.top[0] <= 1
        assert (descent.bits[0][0] < bits - 4) == (top == math.inf)
        assert max(part.read[0].max() for part in descent.parts) == 2.0 ** layer.top[0] - 2.0 ** -layer.fraction[0]
        assert min(part.read[0].min() for part in descent.parts) == -(2.0 ** layer.top[0])
        assert (descent.loss, descent.cost) == pytest.approx(written_out([layer], x, shares), rel=1e-5)


def test_weights_that_classes_share_cost_nothing() -> None:
    """All outputs but one read an input alike: in the end one weight is left, and the loss is what it was."""
    torch.manual_seed(0)
    x = torch.randn(2, 2000)
    layer = one_layer([[0.625, 1.0], [0.625, 0.0], [-0.375, 0.0]], [3.0, 3.0])
    layer.bias[:] = [0.5, 0.5, 0.25]
    outputs = torch.from_numpy(layer.weight).double() @ x.double() + torch.from_numpy(layer.bias)[:, None]
    descent = descent_of([layer], torch.arange(2), x, outputs.softmax(0).float())
    before, first = descent.loss, outputs_of(descent).argmax(axis=0)
    descent.shift_outputs()
    assert layer.weight.tolist() == [[0.0, 1.0], [0.0, 0.0], [-1.0, 0.0]]
    assert layer.bias.tolist() == [0.0, 0.0, -0.25]
    assert descent.loss == pytest.approx(before, rel=1e-6)
    assert (descent.loss, descent.cost) == pytest.approx(written_out([layer], x, outputs.softmax(0)), rel=1e-5)
    assert np.array_equal(outputs_of(descent).argmax(axis=0), first)


@pytest.mark.parametrize("error_share", [0.0, 0.6, 1.0])
def test_what_falls_is_the_loss_of_the_training(error_share: float) -> None:
    """The mean loss of the descent is that of the steps by autograd, and its expected error falls with its share."""
    chain, x, shares = made()
    layers, left = chain.coded()
    descent = CodeDescent(layers, x[left[0]].numpy(), shares.numpy(), FACTOR, SoftLoss(error_share))
    before = descent.loss
    descent.descend(300, seed=0)
    assert descent.loss < before
    outputs = torch.from_numpy(outputs_of(descent)).double().t()
    error = 1 - (outputs.softmax(1) * shares.t()).sum(1).mean()
    wanted = (1 - error_share) * F.cross_entropy(outputs, shares.t().double()) + error_share * 4 * error
    assert descent.loss == pytest.approx(float(wanted), rel=1e-5)
    assert float(SoftLoss(error_share).of_samples(outputs, shares.t().double())) == pytest.approx(float(wanted))


def test_tries_are_counted_and_the_same_seed_gives_the_same() -> None:
    chain, x, shares = made()
    found = []
    for tries, seed in ((0, 0), (60, 0), (60, 0), (60, 1)):
        layers, left = copy.deepcopy(chain.coded())
        assert descent_of(layers, left[0], x, shares).descend(tries, seed) <= tries
        found.append(np.concatenate([own.weight.ravel() for own in layers]))
    assert np.array_equal(found[0], np.concatenate([own.weight.ravel() for own in chain.coded()[0]]))
    assert np.array_equal(found[1], found[2])
    assert not np.array_equal(found[0], found[1])
    assert not np.array_equal(found[1], found[3])


def test_it_finds_the_weights_that_made_the_labels_and_leaves_out_the_rest() -> None:
    """Classes by the sign of x0 - 2 x1: from wrong weights, one of them zero, and a third that says nothing."""
    torch.manual_seed(0)
    x = torch.randn(3, 4000)
    is_first = (x[0] - 2 * x[1] > 0).float()
    weight = [[0, -0.25, 0.5], [0, 0.25, 0.25]]
    layer = one_layer(weight, [3.0, 3.0, 3.0])
    descent = CodeDescent([layer], x.numpy(), torch.stack([is_first, 1 - is_first]).numpy(), 1e-4)
    descent.descend(100_000, seed=0)
    assert descent.loss < 0.1
    difference = layer.weight[0] - layer.weight[1]
    assert difference[1] == pytest.approx(-2 * difference[0], rel=0.15)
    assert abs(difference[2]) < 0.05 * difference[0]


def test_biases_that_a_layer_lacks_stay_zero() -> None:
    chain, x, shares = made()
    chain.has_bias[1] = False
    layers, left = chain.coded()
    before = layers[1].bias.copy()
    assert descent_of(layers, left[0], x, shares).descend(600, seed=0) > 0
    assert np.array_equal(layers[1].bias, before)


def test_a_network_of_which_nothing_is_left_has_its_biases_alone() -> None:
    """Labels that say nothing but their own frequency: the outputs' biases find it."""
    none = np.zeros(0, np.float32)
    layers = [
        CodedLayer(np.zeros((0, 0), np.float32), none, none, none, False, True),
        CodedLayer(np.zeros((2, 0), np.float32), np.zeros(2, np.float32), none, none, False, True),
    ]
    shares = torch.tensor([[0.9], [0.1]]).expand(2, 100)
    descent = descent_of(layers, torch.arange(0), torch.randn(3, 100), shares)
    descent.descend(5000, seed=0)
    assert descent.cost == 0
    assert descent.loss == pytest.approx(-0.9 * np.log(0.9) - 0.1 * np.log(0.1), abs=1e-3)


def test_parts_of_samples_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """A descent on samples in small parts takes the same changes as on all at once, and knows loss and cost as well."""
    found = []
    for most in (700, 10_000):
        monkeypatch.setattr(coded_samples, "MOST_SAMPLES", most)
        chain, x, shares = made(half_up=True)
        layers, left = chain.coded()
        descent = descent_of(layers, left[0], x, shares)
        assert descent.descend(600, seed=3) > 10
        assert (descent.loss, descent.cost) == pytest.approx(written_out(layers, x[left[0]], shares), rel=1e-5)
        found.append(layers)
    for one, other in zip(*found, strict=True):
        for name in ("weight", "bias", "fraction", "top"):
            assert np.array_equal(getattr(one, name), getattr(other, name))
