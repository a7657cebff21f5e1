"""Second-order rounding, against the published algorithm in plain NumPy, and on tiny layers against all roundings."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from typing import ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor

from chop.errors import FormatError
from chop.formats import Format, Integer
from chop.testing import WeightTransformConformance
from chop.testing.weight_transforms import built_in_formats
from chop.weight_transforms import Chain, LayerInputs, Sparsity, WeightRounding, WeightTransform, chained

GPTQ = WeightRounding("gptq")
OPTIONS = [
    GPTQ,
    WeightRounding("gptq", rounding_order="stored", rounding_damping=0.1),
    WeightRounding("gptq", rounding_damping=0.0),
]


class TestConformance(WeightTransformConformance):
    """The suite for both methods, and both orders."""

    transforms: ClassVar = [*OPTIONS, WeightRounding("nearest")]


def correlated(rows: int, inputs: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    mixed = torch.randn(inputs, inputs, generator=generator) + 0.6
    return torch.randn(rows, inputs, generator=generator) @ mixed


def dense_solve(
    weights: np.ndarray, kept: np.ndarray, x: np.ndarray, fraction: int, width: int, damping: float, by_size: bool
) -> np.ndarray:
    """The published method as it is defined, each step with the inverse of the Hessian of the inputs that are left."""
    hessian = x.T @ x
    order = np.argsort(-np.diag(hessian), kind="stable") if by_size else np.arange(len(hessian))
    hessian = hessian + damping * np.diag(hessian).mean() * np.eye(len(hessian))
    left, done = weights.astype(np.float64).copy(), np.zeros_like(weights, dtype=np.float64)
    for step, column in enumerate(order):
        open_columns = order[step:]
        inverse = np.linalg.inv(hessian[np.ix_(open_columns, open_columns)])
        codes = np.rint(left[:, column] * 2.0**fraction).clip(-(2 ** (width - 1)), 2 ** (width - 1) - 1)
        done[:, column] = codes / 2.0**fraction * kept[:, column]
        error = (left[:, column] - done[:, column]) / inverse[0, 0]
        left[:, open_columns] -= error[:, None] * inverse[0]
    return done


@pytest.mark.parametrize("share", [0.0, 0.5])
@pytest.mark.parametrize("own", OPTIONS, ids=str)
def test_it_is_the_published_method(own: WeightRounding, share: float) -> None:
    weights, x = torch.randn(5, 12), correlated(60, 12)
    pruning = [Sparsity(share)] if share else []
    chain = Chain((own, *pruning), Integer(4, 2)).calibrated(weights, LayerInputs.of_linear(x))
    kept = (pruning[0].mask(weights) if pruning else torch.ones_like(weights)).numpy()
    by_size = own.rounding_order == "activation"
    wanted = dense_solve(weights.numpy(), kept, x.double().numpy(), 2, 4, own.rounding_damping, by_size)
    found = chain.quantize(weights)
    nearest = (Chain(tuple(pruning), Integer(4, 2)) if pruning else Integer(4, 2)).quantize(weights)
    worse = squared_errors(torch.from_numpy(wanted), weights, x) > squared_errors(nearest, weights, x)
    assert not torch.equal(found, nearest)
    assert worse.sum() <= 1  # such outputs are rounded to nearest
    assert np.array_equal(found[~worse].double().numpy(), wanted[~worse.numpy()])
    assert torch.equal(found[worse], nearest[worse])
    assert not found.numpy()[kept == 0].any()


def squared_errors(rounded: Tensor, weights: Tensor, x: Tensor) -> Tensor:
    """The squared error of each output of a linear layer."""
    return (x.double() @ (rounded.double() - weights.double()).T).square().sum(0)


@pytest.mark.parametrize("seed", range(20))
def test_the_error_lies_between_those_of_all_roundings_and_of_the_nearest(seed: int) -> None:
    torch.manual_seed(seed)
    weights, x, then = torch.randn(1, 5), correlated(30, 5, seed), Integer(2, 1)
    codes = torch.tensor(list(product((-1.0, -0.5, 0.0, 0.5), repeat=5)))
    least = squared_errors(codes, weights, x).min()
    found = Chain((GPTQ,), then).calibrated(weights, LayerInputs.of_linear(x)).quantize(weights)
    (own,), (nearest,) = squared_errors(found, weights, x), squared_errors(then.quantize(weights), weights, x)
    assert least * (1 - 1e-12) <= own <= nearest * (1 + 1e-12)


def test_it_is_better_than_nearest_by_far() -> None:
    weights, x, then = torch.randn(16, 32) / 4, correlated(400, 32), Integer(4, 3)
    found = Chain((GPTQ,), then).calibrated(weights, LayerInputs.of_linear(x)).quantize(weights)
    assert squared_errors(found, weights, x).sum() < 0.5 * squared_errors(then.quantize(weights), weights, x).sum()


@pytest.mark.parametrize("then", built_in_formats(), ids=str)
@pytest.mark.parametrize("pruning", [(), (Sparsity(0.5),), (Sparsity(sparsity_pattern="2:4", inputs_axis=1),)], ids=str)
def test_every_format_rounds_to_its_own_values_and_never_worse_than_to_nearest(
    then: Format, pruning: tuple[WeightTransform, ...]
) -> None:
    weights, x = torch.randn(6, 16), correlated(100, 16)
    plain = Chain(pruning, then).calibrated(weights)
    chain = Chain((GPTQ, *pruning), then).calibrated(weights, LayerInputs.of_linear(x))
    assert chain.then == plain.then and chain.then is not None  # ranges do not depend on the method
    found, nearest = chain.quantize(weights), plain.quantize(weights)
    assert squared_errors(found, weights, x).sum() <= squared_errors(nearest, weights, x).sum() * (1 + 1e-9)
    for own in pruning:
        assert not found[own.apply(weights) == 0].any()
    if "idempotent" in chain.then.laws and not pruning:
        assert torch.equal(chain.then.quantize(found), found)
    assert chain.bits(weights.shape) == plain.bits(weights.shape)


def test_ranges_by_channel_are_kept() -> None:
    weights, x = torch.randn(6, 16) * torch.logspace(-2, 2, 6)[:, None], correlated(100, 16)
    then = Integer(4, "auto", granularity="channel")
    chain = Chain((GPTQ,), then).calibrated(weights, LayerInputs.of_linear(x))
    found = chain.quantize(weights)
    assert torch.equal(chain.then.quantize(found), found)  # type: ignore[union-attr]
    nearest = then.calibrated(weights).quantize(weights)
    assert (squared_errors(found, weights, x) / squared_errors(nearest, weights, x)).mean() < 0.8


def test_inputs_that_are_always_zero_are_rounded_to_nearest() -> None:
    weights, x = torch.randn(4, 8), correlated(50, 8)
    x[:, [2, 5]] = 0.0
    for order in ("activation", "stored"):
        own = replace(GPTQ, rounding_order=order)
        found = Chain((own,), Integer(4, 2)).calibrated(weights, LayerInputs.of_linear(x)).quantize(weights)
        assert torch.equal(found[:, [2, 5]], Integer(4, 2).quantize(weights[:, [2, 5]]))
        assert not torch.equal(found, Integer(4, 2).quantize(weights))
    nothing = Chain((GPTQ,), Integer(4, 2)).calibrated(weights, LayerInputs.of_linear(x * 0))
    assert torch.equal(nothing.quantize(weights), Integer(4, 2).quantize(weights))


def test_inputs_that_are_equal_need_damping_and_get_it() -> None:
    weights, x = torch.randn(4, 6), correlated(50, 1).expand(50, 6)
    own = replace(GPTQ, rounding_damping=0.0)
    found = Chain((own,), Integer(4, 2)).calibrated(weights, LayerInputs.of_linear(x)).quantize(weights)
    assert found.isfinite().all()
    assert squared_errors(found, weights, x).sum() < squared_errors(Integer(4, 2).quantize(weights), weights, x).sum()


def test_strong_damping_is_nearly_nearest() -> None:
    weights, x = torch.randn(6, 16), correlated(100, 16)
    own = replace(GPTQ, rounding_damping=1e6)
    found = Chain((own,), Integer(4, 2)).calibrated(weights, LayerInputs.of_linear(x)).quantize(weights)
    assert torch.equal(found, Integer(4, 2).quantize(weights))


def test_weights_that_move_are_rounded_from_where_they_were() -> None:
    """In fine-tuning: the offset stays, and gradients pass."""
    weights, x = torch.randn(4, 8), correlated(50, 8)
    chain = Chain((GPTQ,), Integer(4, 2)).calibrated(weights, LayerInputs.of_linear(x))
    moved = (weights + 0.25).requires_grad_()
    found = chain.quantize(moved)
    assert torch.equal(found, (chain.quantize(weights) + 0.25).clamp(-2.0, 1.75))
    found.sum().backward()  # type: ignore[no-untyped-call]
    assert moved.grad is not None and torch.equal(moved.grad, torch.ones_like(weights))
    with pytest.raises(FormatError, match="calibrate anew"):
        chain.quantize(torch.randn(4, 9))


def test_it_is_left_out_where_nothing_is_rounded() -> None:
    assert chained([GPTQ], None) is None
    assert chained([WeightRounding("nearest")], Integer(8)) == Integer(8)
    assert chained([replace(GPTQ, sums=False)], Integer(8)) == Integer(8)
    assert chained([GPTQ, Sparsity(0.5)], None) == Chain((Sparsity(0.5),), None)
    assert str(chained([GPTQ, Sparsity(0.5)], Integer(4))) == "50% sparse then integer 4b/2f by gptq"


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"rounding": "gptqq"}, "rounding must be one of nearest, gptq, got 'gptqq'; did you mean 'gptq'"),
        ({"rounding": "gptq", "rounding_damping": -1}, "0 <= rounding_damping"),
        ({"rounding": "gptq", "rounding_damping": True}, "0 <= rounding_damping"),
        ({"rounding": "gptq", "rounding_order": "size"}, "rounding_order must be one of activation, stored"),
    ],
)
def test_wrong_keys_are_refused(keys: dict[str, object], message: str) -> None:
    with pytest.raises(FormatError, match=message):
        WeightRounding.from_keys(keys)


def test_options_that_have_no_effect_are_named_and_make_no_other_choice() -> None:
    options = {"rounding_damping": 0.1, "rounding_order": "stored"}
    assert list(WeightRounding.idle({"rounding": "nearest", **options})) == list(options)
    assert not WeightRounding.idle({"rounding": "gptq", **options})
    assert not WeightRounding.idle({"rounding": "nearest", "rounding_damping": "NA"})
    assert WeightRounding("nearest", 0.1, "stored") == WeightRounding("nearest")


def test_options_of_gptq_without_a_method_have_no_effect() -> None:
    assert WeightRounding.idle({"rounding_order": "stored"}) == {
        "rounding_order": 'has no effect without rounding = "gptq"'
    }
