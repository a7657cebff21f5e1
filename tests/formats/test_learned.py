"""Fixed point with learned widths, against the definition in plain NumPy integers."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from chop.errors import FormatError
from chop.formats import Integer, MeasuredTensor
from chop.formats.integer import FixedPoint, IntegerFloor


def learned(shape: tuple[int, ...], signed: bool = True, seed: int = 0, cls: type[FixedPoint] = Integer) -> FixedPoint:
    generator = torch.Generator().manual_seed(seed)
    widths = torch.randint(0, 7, shape, generator=generator, dtype=torch.int8)
    fractions = torch.randint(-3, 9, shape, generator=generator, dtype=torch.int8)
    return cls(6, MeasuredTensor(fractions), is_signed=signed, element_width=MeasuredTensor(widths))


def by_integers(x: torch.Tensor, chosen: FixedPoint) -> np.ndarray:
    """Each value on its own, in Python integers: code = round half to even, kept within its bits."""
    assert isinstance(chosen.frac_width, MeasuredTensor)
    assert chosen.element_width is not None
    fractions = np.broadcast_to(chosen.frac_width.values.numpy(), x.shape)
    widths = np.broadcast_to(chosen.element_width.values.numpy(), x.shape)
    out = np.zeros(x.shape)
    for place, value in np.ndenumerate(x.double().numpy()):
        width, scaled = int(widths[place]), value * 2.0 ** int(fractions[place])
        code = int(np.floor(scaled)) if isinstance(chosen, IntegerFloor) else int(np.rint(scaled))
        low, high = (-(1 << width) // 2, (1 << width) // 2 - 1) if chosen.is_signed else (0, (1 << width) - 1)
        out[place] = 0 if width == 0 else min(max(code, low), high) * 2.0 ** -int(fractions[place])
    return out


@pytest.mark.parametrize("cls", [Integer, IntegerFloor])
@pytest.mark.parametrize("signed", [True, False])
@pytest.mark.parametrize("shape", [(5, 7), (5, 1), (1, 1), (7,), (1,)])
def test_each_value_is_rounded_to_its_own_bits(shape: tuple[int, ...], signed: bool, cls: type[FixedPoint]) -> None:
    chosen = learned(shape, signed, len(shape), cls)
    x = torch.randn(5, 7, generator=torch.Generator().manual_seed(1)) * 6
    assert np.array_equal(chosen.quantize(x).double().numpy(), by_integers(x, chosen))
    out = torch.empty_like(x)
    chosen.round_into_(out, x)
    assert torch.equal(out, chosen.quantize(x))


def test_no_bits_are_an_exact_zero() -> None:
    zeros = MeasuredTensor(torch.zeros(3, dtype=torch.int8))
    chosen = Integer(4, zeros, element_width=zeros)
    assert torch.equal(chosen.quantize(torch.tensor([-9.0, 0.4, 7.0])).abs(), torch.zeros(3))
    assert chosen.bits((5, 3)) == 0


def test_bits_are_those_of_each_value() -> None:
    chosen = learned((4, 1, 1))
    assert chosen.element_width is not None
    total = int(chosen.element_width.values.sum())
    assert chosen.bits((1, 4, 5, 6)) == total * 30
    assert chosen.bits((4,)) == total


def test_equal_widths_are_equal_formats() -> None:
    assert learned((3,)) == learned((3,))
    assert hash(learned((3,))) == hash(learned((3,)))
    assert learned((3,)) != learned((3,), seed=1)


@pytest.mark.parametrize(
    ("fraction", "width", "part"),
    [
        (torch.zeros(2, dtype=torch.int8), torch.zeros(3, dtype=torch.int8), "shape"),
        (torch.zeros(2, dtype=torch.int8), torch.full((2,), 9, dtype=torch.int8), "between 0 and 6"),
        (torch.full((2,), 99, dtype=torch.int8), torch.zeros(2, dtype=torch.int8), "between -64 and 64"),
        (torch.zeros(2), torch.zeros(2, dtype=torch.int8), "int8"),
    ],
)
def test_impossible_widths_are_refused(fraction: torch.Tensor, width: torch.Tensor, part: str) -> None:
    with pytest.raises(FormatError, match=part):
        Integer(6, MeasuredTensor(fraction), element_width=MeasuredTensor(width))


def test_a_tensor_of_another_shape_is_refused() -> None:
    with pytest.raises(FormatError, match="train anew"):
        learned((4,)).quantize(torch.zeros(2, 5))
    with pytest.raises(FormatError, match="no widths are learned"):
        Integer(6, "learned", granularity="element").quantize(torch.zeros(2))


def test_values_are_rounded_one_by_one() -> None:
    chosen, x = learned((5, 7)), torch.randn(5, 7) * 6
    function, parameters = chosen.one_by_one(x)
    places = torch.rand(5, 7) < 0.5
    parts = [own.expand(5, 7)[places] for own in parameters]
    assert torch.equal(function(x[places], *parts), chosen.quantize(x)[places])
