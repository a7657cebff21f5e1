"""A step of the chain against plain PyTorch, with each rounding and the cost written out."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from chop.training.chain_steps import LN2
from chop.training.code_costs import EBOPS, CodeCosts
from chop.training.soft_loss import SoftLoss
from chop.training.width_chain import Chain

SIZES = (6, 5, 4, 3)
FACTOR = 1e-2


def made(error_share: float = 0.0) -> tuple[Chain, Tensor, Tensor]:
    torch.manual_seed(0)
    weights = [torch.randn(o, i) * 0.5 for i, o in pairwise(SIZES)]
    biases = [torch.randn(len(own)) * 0.2 for own in weights]
    chain = Chain(weights, biases, [True] * 3, (2.0, 3.0), loss=SoftLoss(error_share))
    fractions = chain.parameters[chain.count : -chain.inputs]
    fractions += torch.randn(len(fractions)) * 1.5
    return chain, torch.randn(6, 64), torch.randn(3, 64).softmax(0)


def rounded(x: Tensor, fraction: Tensor, low: Tensor | float, high: Tensor | float) -> Tensor:
    """Rounding whose gradient is 1 for the value, and ln 2 times the error within bounds for the fraction width."""
    scale = 2.0 ** fraction.detach().round()
    codes = (x.detach() * scale).clamp(low, high)
    error = (codes - codes.round()) / scale
    return codes.round() / scale + (x - x.detach()) + LN2 * error * (fraction - fraction.detach())


def bits_of(codes: Tensor) -> Tensor:
    return torch.tensor([int(abs(code)).bit_length() for code in codes.flatten().tolist()]).reshape(codes.shape).float()


def digits_of(codes: Tensor) -> Tensor:
    """The digits of whole numbers in canonical signed form."""

    def of(code: int) -> int:
        return 0 if not code else of(code // 2) if code % 2 == 0 else 1 + of((code - (2 - code % 4)) // 2)

    return torch.tensor([of(int(abs(code))) for code in codes.flatten().tolist()]).reshape(codes.shape).float()


def loss_written_out(chain: Chain, parameters: Tensor, x: Tensor, shares: Tensor) -> Tensor:
    """The loss, and a cost whose value is wrong but whose gradient is that of the bits."""
    values, fractions, inputs, tops = parameters.split([chain.count, chain.count, *[chain.inputs] * 2])
    cost, h = torch.zeros(()), x
    for number, own in enumerate(chain.layers):
        here = inputs[own.first_input : own.first_input + own.inputs]
        scale = 2.0 ** here.detach().round()
        top = bits_of((h.detach().clamp(min=0).amax(1) * scale).round())
        below = bits_of((h.detach().amin(1) * scale).round().clamp(max=0) + 1)
        bits, sign = (torch.maximum(top, below), 1.0) if number == 0 else (top, 0.0)
        own_tops = tops[own.first_input : own.first_input + own.inputs]
        bits = bits.minimum((own_tops.detach() + here.detach().round()).clamp(min=0))
        before, h = h, rounded(h, here[:, None], -(2.0 ** bits[:, None]) * sign, 2.0 ** bits[:, None] - 1)
        if chain.learns_tops:
            codes = before.detach() * scale[:, None]
            is_high, is_low = codes >= 2.0 ** bits[:, None] - 1, (codes <= -(2.0 ** bits[:, None])) * sign
            reach = 2.0**bits / scale * LN2 * (own_tops - own_tops.detach())
            h = torch.where(is_high, h.detach(), h) + (is_high * 1.0 - is_low) * reach[:, None]
        weight = values[own.weights : own.bias].view(own.outputs, own.inputs)
        weight_fraction = fractions[own.weights : own.bias].view(own.outputs, own.inputs)
        bias, bias_fraction = (part[own.bias : own.bias + own.outputs] for part in (values, fractions))
        codes = (weight.detach() * 2.0 ** weight_fraction.detach().round()).round()
        weight_bits, digits = bits_of(codes), digits_of(codes)
        bias_bits = bits_of((bias.detach() * 2.0 ** bias_fraction.detach().round()).round())
        products = (weight_fraction * (weight_bits > 0) * (bits + sign)).sum() + (here * (bits > 0) * weight_bits).sum()
        products = products + (bias_fraction * (bias_bits > 0)).sum()
        if chain.learns_tops:
            products = products + (own_tops * (bits > 0) * weight_bits.sum(0)).sum()
        by_bit = (weight_fraction * digits / weight_bits.clamp(min=1)).sum()
        cost = cost + chain.costs.product * products + chain.costs.digit * by_bit
        h = rounded(weight, weight_fraction, -math.inf, math.inf) @ h
        h = h + rounded(bias, bias_fraction, -math.inf, math.inf)[:, None]
        h = h.relu() if number < 2 else h
    share = chain.loss.error_share
    error = 1 - (h.softmax(0) * shares).sum(0).mean()
    return (1 - share) * F.cross_entropy(h.t(), shares.t()) + share * 4 * error + FACTOR * cost


@pytest.mark.parametrize(
    ("error_share", "learns_tops", "costs"),
    [
        (0.0, False, EBOPS),
        (0.3, False, EBOPS),
        (1.0, False, EBOPS),
        (0.3, True, EBOPS),
        (0.3, True, CodeCosts(0.5, 3.0)),
    ],
)
def test_a_step_has_the_gradient_that_is_written_out(error_share: float, learns_tops: bool, costs: CodeCosts) -> None:
    chain, x, shares = made(error_share)
    chain.costs = costs
    chain.measure_ranges(x)
    chain.tops[:] = 30.0  # far above all ranges, and finite
    bits, fractions = chain._input_bits()[1], chain.parameters[2 * chain.count : -chain.inputs].round()
    chain.tops[::2] = torch.where(bits > 2, bits - fractions - 1, 30.0)[::2]
    chain.learn_tops(learns_tops)
    chain.measure_ranges(x)
    parameters = chain.parameters.clone().requires_grad_()
    loss_written_out(chain, parameters, x, shares).backward()  # type: ignore[no-untyped-call]
    chain.step(x, shares, FACTOR, (0.0, 0.0))
    assert parameters.grad is not None
    assert bool(parameters.grad[-chain.inputs :].abs().sum() > 0) == learns_tops
    assert torch.allclose(chain.gradient, parameters.grad, atol=1e-6, rtol=1e-4)


def test_adam_is_that_of_torch() -> None:
    chain, x, shares = made()
    wanted = chain.parameters.clone().requires_grad_()
    adam = torch.optim.Adam([wanted], 1e-3, eps=1e-7)
    for _ in range(3):
        chain.step(x, shares, FACTOR, (1e-3, 1e-3))
        wanted.grad = chain.gradient.clone()
        adam.step()
        assert torch.allclose(chain.parameters, wanted, atol=1e-6)


def test_what_is_taken_out_changes_nothing() -> None:
    """Features whose weights are zero, or that have no bits, go; outputs and costs stay."""
    chain, x, _ = made()
    first, second = chain.layers[0], chain.layers[1]
    chain.parameters[second.weights : second.bias].view(second.outputs, second.inputs)[:, 2] = 0
    chain.parameters[2 * chain.count + chain.layers[2].first_input] = -20
    chain.measure_ranges(x)
    outputs, cost, tensors = chain.outputs(x), chain.ebops(), chain.tensors()
    assert chain.drop_unused(1)
    assert [len(own) for own in chain.kept] == [6, 4, 3]
    assert chain.layers[0].outputs == first.outputs - 1
    assert torch.allclose(chain.outputs(x[chain.kept[0]]), outputs, atol=1e-6)
    assert chain.ebops() == cost
    for own, wanted in zip(chain.tensors(), tensors, strict=True):
        assert all(torch.equal(own[name], wanted[name]) for name in own)


def test_a_chain_goes_on_from_its_state() -> None:
    chain, x, shares = made()
    chain.step(x, shares, FACTOR, (1e-2, 1e-2))
    other = made()[0]
    other.load_state(chain.state())
    for own in (chain, other):
        own.next_epoch()
        own.step(x, shares, FACTOR, (1e-2, 1e-2))
    assert torch.equal(chain.parameters, other.parameters)


def test_inputs_are_freed_where_rounding_stays_within_their_tops() -> None:
    """At ties: 3.5 steps round to 4, which a top of 4 steps cuts off, -4.5 to -4, which it does not, -1.5 to -2."""
    chain = Chain([torch.ones(2, 6)], [torch.zeros(2)], [True], (2.0, 0.0))
    chain.tops[:] = torch.tensor([2.0, 2.0, 2.0, 2.0, 0.0, 0.0])
    chain.measure_ranges(torch.tensor([[3.4, -1.0], [3.5, -1.0], [0.0, -4.5], [0.0, -4.6], [0.0, -1.4], [0.0, -1.5]]))
    _, bits, sign = chain._input_bits()
    chain.free_inputs()
    assert chain.tops.isinf().tolist() == [True, False, True, False, True, False]
    assert torch.equal(chain._input_bits()[1], bits)
    assert torch.equal(chain._input_bits()[2], sign)
