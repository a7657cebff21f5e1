"""Fixed point: the laws that it keeps, against an implementation of apytypes, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from apytypes import OverflowMode, QuantizationMode, fx
from hypothesis import given
from hypothesis import strategies as st

from chop.errors import FormatError
from chop.formats import Format, Integer, IntegerFloor

VALUES = st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1, max_size=40)
SMALL_VALUES = st.lists(st.integers(-(2**20), 2**20).map(lambda n: n / 2**10), min_size=1, max_size=40)


@st.composite
def formats(draw: st.DrawFn, widest: int = 24) -> Integer | IntegerFloor:
    width = draw(st.integers(1, widest))
    fraction = draw(st.integers(-4, width + 4))
    cls: type[Integer | IntegerFloor] = draw(st.sampled_from([Integer, IntegerFloor]))
    return cls(width, fraction, draw(st.booleans()))


def value_set(number_format: Integer | IntegerFloor) -> np.ndarray:
    low, high = number_format.code_range
    return np.arange(low, high + 1, dtype=np.float64) * 2.0 ** -(number_format.frac_width or 0)


@given(formats(widest=10), VALUES)
def test_results_lie_in_the_value_set_and_stay_there(number_format: Integer, values: list[float]) -> None:
    rounded = number_format.quantize(torch.tensor(values))
    assert np.isin(rounded.double().numpy(), value_set(number_format)).all()
    assert torch.equal(number_format.quantize(rounded), rounded)


@given(formats(widest=10), VALUES)
def test_order_is_kept(number_format: Integer, values: list[float]) -> None:
    ordered = torch.tensor(sorted(values))
    assert (number_format.quantize(ordered).diff() >= 0).all()


@given(formats(widest=10).filter(lambda f: isinstance(f, Integer)), SMALL_VALUES)
def test_integer_takes_the_nearest_value(number_format: Integer, values: list[float]) -> None:
    x = torch.tensor(values)
    error = (number_format.quantize(x) - x).abs().double().numpy()
    nearest = np.abs(value_set(number_format)[None, :] - x.double().numpy()[:, None]).min(axis=1)
    np.testing.assert_array_equal(error, nearest)


@given(st.integers(1, 24), st.booleans(), SMALL_VALUES)
def test_auto_is_the_largest_fraction_width_that_holds_all_magnitudes(
    width: int, is_signed: bool, values: list[float]
) -> None:
    x = torch.tensor(values) if is_signed else torch.tensor(values).abs()
    holds = 2 ** (width - 1 if is_signed else width)
    largest = max(fraction for fraction in range(-64, 65) if float(x.abs().max()) * 2.0**fraction < holds)
    assert Integer(width, "auto", is_signed).calibrated(x).frac_width == largest


@given(formats(), SMALL_VALUES)
def test_apytypes_rounds_alike(number_format: Integer | IntegerFloor, values: list[float]) -> None:
    fraction = number_format.frac_width or 0
    exact = [fx(value, int_bits=40, frac_bits=40) for value in values]
    mode = QuantizationMode.RND_CONV if isinstance(number_format, Integer) else QuantizationMode.TRN
    integer_bits = number_format.width - fraction
    if not number_format.is_signed:
        integer_bits += 1  # apytypes' signed type with one more bit holds 0 … 2^width - 1 …
    expected = [
        float(value.cast(int_bits=integer_bits, frac_bits=fraction, quantization=mode, overflow=OverflowMode.SAT))
        for value in exact
    ]
    if not number_format.is_signed:
        expected = [max(value, 0.0) for value in expected]  # … and what is below 0 saturates there.
    rounded = number_format.quantize(torch.tensor(values, dtype=torch.float64))
    np.testing.assert_array_equal(rounded.numpy(), expected)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_types_and_shapes_are_kept(dtype: torch.dtype) -> None:
    for shape in ((), (0,), (3, 0, 2), (2, 3)):
        x = torch.ones(shape, dtype=dtype)
        rounded = Integer(8, 4).quantize(x)
        assert rounded.dtype == dtype
        assert rounded.shape == x.shape


def test_infinities_saturate_and_what_is_no_number_stays_none() -> None:
    rounded = Integer(4, 2).quantize(torch.tensor([float("inf"), -float("inf"), float("nan")]))
    assert rounded[:2].tolist() == [1.75, -2.0]
    assert rounded[2].isnan()


def test_gradients_pass_straight_through() -> None:
    x = torch.tensor([0.3, 100.0], requires_grad=True)
    Integer(4, 2).quantize(x).sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == [1.0, 1.0]


def test_the_widest_code_is_not_rounded_up_in_float32() -> None:
    assert float(Integer(32, 0).quantize(torch.tensor([1e12]))) <= 2**31 - 1


@pytest.mark.parametrize("width", [0, 33, -1, True, 2.0, "8", None])
def test_impossible_widths_are_refused(width: object) -> None:
    with pytest.raises(FormatError, match="width"):
        Integer(width)  # type: ignore[arg-type]


def test_storage_is_counted_in_bits() -> None:
    number_format: Format = Integer(5)
    assert number_format.bits((3, 4)) == 60
    assert number_format.bits(()) == 5
