"""The conformance suite of number formats: general laws, and the laws that each declares."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from math import log2
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor

from chop.errors import FormatError
from chop.formats import Format
from chop.formats.base import Law

FLOAT_TYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
FINITE = st.floats(width=32, allow_nan=False, allow_infinity=False)
USUAL = st.floats(-20, 20, width=32, allow_subnormal=False)
NUMBERS = st.one_of(USUAL, FINITE, st.sampled_from([0.0, -0.0, 1.0, -1.0, 1e-40, -1e-40, 3.4e38, -3.4e38]))
BLOCKS = st.lists(NUMBERS, min_size=1, max_size=24)
MOST_VALUES = 4096
EDGE = 2.0**-120
"""Below it and above its reciprocal float32 ends; the metric of "nearest" is not asked for there."""


CHECKED = settings(
    max_examples=60,
    deadline=None,
    database=None,
    # One instance of the suite for each format: nothing is stored that could be replayed on another.
    suppress_health_check=[HealthCheck.differing_executors],
)


class FormatConformance:
    """Subclass it in a test module and list `formats`; pytest then checks each of them.

    Formats in blocks are checked with blocks as long as the tensors drawn, so that a tensor is one block.
    """

    formats: ClassVar[Sequence[Format]] = ()

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        """One test for each format."""
        if "number_format" in metafunc.fixturenames:
            metafunc.parametrize("number_format", self.formats, ids=str)

    @CHECKED
    @given(data=st.data())
    def test_values_lie_in_the_finite_set(self, number_format: Format, data: Any) -> None:
        """No NaN, no infinity, nothing passed through: every result is one of at most 2^bits values."""
        x, chosen = _block(data, number_format)
        result = chosen.quantize(x)
        assert result.isfinite().all()
        known = chosen.values(x)
        if known is None or len(known) > MOST_VALUES:
            return
        assert np.isin(result.double().numpy(), known.numpy()).all(), (x, result)
        element_bits = chosen.bits((2 * len(x),)) - chosen.bits((len(x),))
        assert len(known) <= 2 ** (element_bits / len(x))

    @CHECKED
    @given(data=st.data())
    def test_the_laws_that_it_declares_hold(self, number_format: Format, data: Any) -> None:
        """Idempotent, monotone, odd, nearest: whichever the format says."""
        x, chosen = _block(data, number_format)
        for law in sorted(chosen.laws):
            LAWS[law](chosen, x)

    @CHECKED
    @given(data=st.data())
    def test_the_two_zeros_are_equal(self, number_format: Format, data: Any) -> None:
        """-0 is 0."""
        x, chosen = _block(data, number_format)
        x = torch.cat([x, torch.zeros(2)])
        minus = torch.where(x == 0, -torch.zeros_like(x), x)
        plus = torch.where(x == 0, torch.zeros_like(x), x)
        assert torch.equal(chosen.quantize(minus), chosen.quantize(plus))

    def test_what_is_no_number_stays_none(self, number_format: Format) -> None:
        """NaN is not turned into a value that looks like any other."""
        chosen = number_format.calibrated(torch.linspace(-2, 2, 4))
        assert chosen.quantize(torch.tensor([1.0, float("nan"), -0.5, 0.0]))[1].isnan()

    def test_minus_infinity_leaves_the_others_alone(self, number_format: Format) -> None:
        """What is masked has no part in what is measured, or shared by a block."""
        x, masked = torch.tensor([0.75, -1.5, 0.0, 0.25]), torch.tensor([False, False, True, False])
        hidden = x.masked_fill(masked, -torch.inf)
        measured = number_format.calibrated(hidden)
        assert measured == number_format.calibrated(x[~masked])
        assert torch.equal(measured.quantize(hidden)[~masked], measured.quantize(x)[~masked])

    def test_types_and_shapes_are_kept(self, number_format: Format) -> None:
        """Every floating type, any rank, empty tensors."""
        for dtype in FLOAT_TYPES:
            for shape in ((), (1,), (0,), (3, 0), (2, 3), (2, 3, 5), (2, 2, 3, 3)):
                x = torch.linspace(-2, 2, max(int(np.prod(shape)), 1)).to(dtype)[: int(np.prod(shape))].reshape(shape)
                result = number_format.quantize(x)
                assert result.dtype == dtype
                assert result.shape == x.shape

    def test_the_input_is_left_as_it_was(self, number_format: Format) -> None:
        """`quantize` is pure, and gives the same twice."""
        x = _drawn(6, 8)
        before = x.clone()
        first = number_format.quantize(x)
        assert torch.equal(x, before)
        assert torch.equal(number_format.quantize(x), first)

    def test_a_batch_equals_a_loop(self, number_format: Format) -> None:
        """As activations, the rows of a batch do not depend on each other."""
        x = _drawn(5, 6, 7)
        chosen = _as_activation(number_format).calibrated(x)
        looped = torch.cat([chosen.quantize(x[row : row + 1]) for row in range(len(x))])
        assert torch.equal(chosen.quantize(x), looped)

    def test_values_may_be_rounded_one_by_one(self, number_format: Format) -> None:
        """With what a tensor shares held, any part of it is rounded as in the whole; or it is refused."""
        for x in (_drawn(6, 8), _drawn(4, 3, 5), _drawn(7)):
            chosen = number_format.calibrated(x)
            try:
                function, parameters = chosen.one_by_one(x)
            except FormatError as error:
                assert "one by one" in str(error)
                return
            before, spread = x.clone(), [own.expand(x.shape) for own in parameters]
            assert torch.equal(function(x, *parameters), chosen.quantize(x))
            part = function(x[..., 2:4], *(own[..., 2:4] for own in spread))
            assert torch.equal(part, chosen.quantize(x)[..., 2:4])
            assert torch.equal(x, before)

    def test_gradients_pass_straight_through(self, number_format: Format) -> None:
        """The gradient of the result is that of the input, saturated or not."""
        x = torch.tensor([0.3, -1e6, 1e6, 0.0], requires_grad=True)
        weights = torch.tensor([1.0, 2.0, 3.0, 4.0])
        (number_format.quantize(x) * weights).sum().backward()  # type: ignore[no-untyped-call]
        assert x.grad is not None
        assert torch.equal(x.grad, weights)

    def test_storage_grows_with_the_tensor(self, number_format: Format) -> None:
        """Bits are whole and never shrink; an empty tensor needs none for its elements."""
        sizes = [number_format.bits((rows, 16)) for rows in (1, 2, 8)]
        assert sizes == sorted(sizes)
        assert all(isinstance(size, int) and size >= 16 for size in sizes)
        shared = [number_format.shared_bits((rows, 16)) for rows in (1, 2, 8)]
        assert all(0 <= part < size for part, size in zip(shared, sizes, strict=True))

    def test_its_keys_build_it_again(self, number_format: Format) -> None:
        """A format is what its keys say, so that a file can hold it."""
        values = {key: getattr(number_format, key) for key in type(number_format).keys()}  # noqa: SIM118 - no mapping
        context = {key: getattr(number_format, key) for key in number_format.context_fields}
        assert type(number_format).from_keys(values, **context) == number_format
        assert hash(number_format) == hash(dataclasses.replace(number_format))
        assert str(number_format)


def _block(data: Any, number_format: Format) -> tuple[Tensor, Format]:
    x = torch.tensor(data.draw(BLOCKS), dtype=torch.float32)
    return x, number_format.calibrated(x)


def _as_activation(number_format: Format) -> Format:
    if "is_activation" in number_format.context_fields:
        return dataclasses.replace(number_format, is_activation=True)  # type: ignore[call-arg]
    if "channel_axis" in number_format.context_fields:
        return dataclasses.replace(number_format, channel_axis=-1)  # type: ignore[call-arg]
    return number_format


def _idempotent(chosen: Format, x: Tensor) -> None:
    once = chosen.quantize(x)
    assert torch.equal(chosen.quantize(once), once), (x, once)


def _monotone(chosen: Format, x: Tensor) -> None:
    ordered = x.sort().values
    assert (chosen.quantize(ordered).double().diff() >= 0).all(), ordered


def _odd(chosen: Format, x: Tensor) -> None:
    assert torch.equal(chosen.quantize(-x), -chosen.quantize(x)), x


def _nearest(chosen: Format, x: Tensor) -> None:
    known = chosen.values(x)
    if known is None or len(known) > MOST_VALUES:
        return
    exact = x.double()
    error = (chosen.quantize(x).double() - exact).abs()
    least = (known.unsqueeze(0) - exact.unsqueeze(1)).abs().amin(1)
    # The scale of a measured format is a float32: products with it are rounded in their last bit.
    assert (error <= least * (1 + 2**-20) + exact.abs() * 2**-22).all(), (x, chosen.quantize(x))


def _drawn(*shape: int) -> Tensor:
    """The same random values in each run."""
    return 3 * torch.randn(shape, generator=torch.Generator().manual_seed(0))


def _nearest_log(chosen: Format, x: Tensor) -> None:
    known = chosen.values(x)
    assert known is not None
    for value, result in zip(x.tolist(), chosen.quantize(x).tolist(), strict=True):
        if EDGE < abs(value) < 1 / EDGE:
            magnitudes = {abs(k) for k in known.tolist()}
            least = min(abs(log2(k) - log2(abs(value))) for k in magnitudes)
            assert abs(log2(abs(result)) - log2(abs(value))) <= least + 1e-9, (value, result)
            assert (result > 0) == (value > 0)


LAWS: dict[Law, Any] = {
    "idempotent": _idempotent,
    "monotone": _monotone,
    "odd": _odd,
    "nearest": _nearest,
    "nearest_log": _nearest_log,
}
