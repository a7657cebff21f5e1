"""The integer network computes what the quantised network does, to the bit, or says why it cannot."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from chop.circuits import integer_network
from chop.circuits.stages import Affine, Round, rounded
from chop.circuits.values import Range, Values, exact_codes
from chop.errors import CircuitError
from chop.formats import Format, MeasuredTensor
from chop.formats.grid import Grid
from chop.formats.integer import Integer, IntegerFloor
from chop.formats.minifloat import MinifloatIEEE
from chop.formats.scale_integer import ScaleInteger
from chop.weight_transforms import Chain, Sparsity, TrainedOffset
from tests.circuits.networks import LAYER, OWN, WIDTHS, bundled, drawn, learned, one_layer, outputs, quantised

MOVED = [TrainedOffset(MeasuredTensor(torch.linspace(-0.5, 0.5, 12).reshape(shape)[:3])) for shape in ((3, 4), (12,))]


@pytest.mark.parametrize("name", WIDTHS)
@pytest.mark.parametrize("made", [lambda width: Integer(width, "auto"), lambda width: IntegerFloor(width, "auto")])
def test_bundled_networks_differ_in_no_output(name: str, made: Callable[[int], Format]) -> None:
    graph, data = bundled(name, made)
    x, _ = next(iter(data.batches("test", None, None)))
    network = integer_network(graph, x)
    assert np.array_equal(network(x), outputs(graph, x).numpy())
    assert network.outside == ()


@pytest.mark.parametrize("name", OWN)
def test_every_operation_equals_torch(name: str) -> None:
    made, x, formats = OWN[name]
    torch.manual_seed(2)
    graph = quantised(made(), formats, x)
    assert np.array_equal(integer_network(graph, x)(x), outputs(graph, x).numpy())


@pytest.mark.parametrize(
    "formats",
    [
        {"data_in": Integer(4, (1, 3, 0, -1), channel_axis=-1)},
        {"data_in": ScaleInteger(width=5, scale=(0.125,), zero_point=(3,))},
        {"data_in": ScaleInteger(width=5, scale=(0.125, 0.25, 2.0, 0.5), zero_point=(0,) * 4, channel_axis=-1)},
        {"data_in": Integer(3, -1), "data_out": Integer(4, 0)},
        {"data_in": Integer(20, 40)},
        {"weight": Chain((Sparsity(0.5),), Integer(4, 3))},
        {"weight": Integer(4, (1, 3, 2), channel_axis=0)},
        {"data_in": learned([1, 40, 0, -2], [3, 0, 2, 5]), "weight": learned([2, 3, 1, 0], [3, 4, 0, 1])},
        {"data_in": learned([1, 4, 0, 2], [3, 2, 1, 8], is_signed=False)},
        {"weight": MinifloatIEEE(6, exponent_width=3)},
        {"weight": Chain((MOVED[0],), Integer(4, 3)), "bias": Chain((MOVED[1],), Integer(8, 5))},
    ],
)
def test_formats_equal_torch(formats: dict[str, Format]) -> None:
    graph, x = one_layer(**formats)
    assert np.array_equal(integer_network(graph, x)(x), outputs(graph, x, torch.float64).numpy())


def test_what_comes_before_the_first_rounding_stays_outside() -> None:
    torch.manual_seed(4)
    x = drawn(100, 6)
    model = nn.Sequential(nn.BatchNorm1d(6), nn.ReLU(), nn.Linear(6, 3)).eval()
    graph = quantised(model, {"_2": LAYER}, x)
    network = integer_network(graph, x)
    assert network.outside == ("_0", "_1")
    assert np.array_equal(network(x), outputs(graph, x).numpy())


def test_all_reasons_are_given_by_node() -> None:
    x = drawn(20, 6)
    layers = [nn.Linear(6, 4), nn.Sigmoid(), nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Linear(4, 3)]
    without_bias = {"data_in": Integer(6, 3), "weight": Integer(5, 4)}
    norm = {"data_in": Integer(8, 4), "weight": Integer(8, 4), "bias": Integer(8, 4)}
    graph = quantised(nn.Sequential(*layers).eval(), {"_0": without_bias, "_3": norm}, x)
    with pytest.raises(CircuitError) as raised:
        integer_network(graph, x)
    assert [problem.split(";")[0] for problem in raised.value.problems] == [
        "_0: its bias is in float",
        "_1: 'sigmoid' has no exact integer form",
        "_2: its weight is in float",
        "_3: its statistics are in float",
        "_4: its weight is in float",
    ]
    minifloat = MinifloatIEEE(width=8, exponent_width=4)
    graph = quantised(nn.Sequential(nn.Linear(6, 4)), {"_0": {**LAYER, "data_in": minifloat}}, x)
    with pytest.raises(CircuitError, match=r"_0: data_in: the format .* has no integer codes; choose integer"):
        integer_network(graph, x)
    graph = quantised(nn.Sequential(nn.Linear(6, 4), nn.Linear(4, 3)), {"_1": LAYER}, x)
    with pytest.raises(CircuitError, match="_0: its input is in float"):
        integer_network(graph, x)
    graph = quantised(nn.Sequential(nn.Linear(6, 4), nn.BatchNorm1d(4)).eval(), {"_0": LAYER, "_1": norm}, x)
    with pytest.raises(CircuitError, match="_1: its statistics are in float; run the pass fold_batch_norm"):
        integer_network(graph, x)


def test_ranges_are_exact_for_one_layer() -> None:
    """Against all inputs of a layer of two."""
    torch.manual_seed(5)
    formats = {"data_in": Integer(3, 1), "weight": Integer(4, 2), "bias": Integer(4, 3)}
    graph = quantised(nn.Sequential(nn.Linear(2, 5), nn.ReLU()), {"_0": formats}, drawn(2, 2))
    network = integer_network(graph, drawn(2, 2))
    every = torch.arange(-4, 4) / 2
    found = outputs(graph, torch.cartesian_prod(every, every)).numpy()
    own = network.output
    assert np.array_equal(np.ldexp(own.low.astype(float), -own.frac), found.min(0))
    assert np.array_equal(np.ldexp(own.high.astype(float), -own.frac), found.max(0))
    codes = np.ldexp(found, own.frac).astype(int)
    assert np.all(codes % (1 << np.minimum(own.zeros, 20)) == 0)


def test_rounding_in_integers_equals_rounding_of_floats() -> None:
    codes = np.arange(-300, 300)[:, None]
    frac = np.array([3, 5, 2, 0, -4, -9, 12, 60])
    for down in (False, True):
        low, high = np.array([-8, -3, -1, -2, 0, -1, -128, -5]), np.array([7, 5, 0, 1, 1, 0, 127, 9])
        found = rounded(Values(np.repeat(codes, 8, 1), 4), Grid.of(frac, low, high, down)) if frac.max() < 30 else None
        for place, own in enumerate(frac):
            grid = Grid.of(own, low[place], high[place], down)
            scaled = np.ldexp(codes.astype(float), int(own) - 4)
            wanted = np.clip(np.floor(scaled) if down else np.rint(scaled), low[place], high[place])
            assert np.array_equal(rounded(Values(codes, 4), grid).codes, wanted)
        assert found is None


def test_bits_are_those_from_the_highest_to_the_lowest() -> None:
    low, high = np.array([0, 0, -4, -5, 3, -8]), np.array([0, 7, 3, 3, 3, 0])
    own = Range(low, high, 2, np.array([63, 0, 0, 0, 0, 2]))
    assert own.bits.tolist() == [0, 3, 3, 4, 0, 2]
    assert own.widest == 4


def test_the_end_of_a_finer_format_has_no_zero_bits() -> None:
    """Multiples of 1/2 up to 6, clamped to 31/8: the last three bits of all others are 0."""
    source = Range(np.array([0, 0]), np.array([12, 6]), 1, np.array([0, 0]))
    found = Round("y", ("x",), (2,), Grid.of(3, -32, 31)).range_of(source)
    assert found.zeros.tolist() == [0, 2]


def test_constants_need_the_coarsest_step() -> None:
    found = exact_codes(np.array([0.75, -2.0, 0.0]))
    assert (found.codes.tolist(), found.frac) == ([3, -8, 0], 2)
    with pytest.raises(CircuitError, match="need more than 31 bits"):
        exact_codes(np.array([2.0**20, 2.0**-20]))


def test_too_wide_numbers_are_refused_and_named() -> None:
    graph, x = one_layer(data_in=Integer(32, 16), weight=Integer(30, 29), bias=Integer(30, 16))
    network = integer_network(graph, x)
    wide = replace(next(own for own in network.stages if isinstance(own, Affine)), bias_frac=-60)
    with pytest.raises(CircuitError, match="_0: its sums need more than"):
        _ = replace(network, stages=(network.stages[0], wide)).ranges
    assert any(isinstance(own, Round) for own in network.stages)


def test_an_average_with_another_divisor_is_refused() -> None:
    x = drawn(4, 1, 4, 4)
    with pytest.raises(CircuitError, match="_0: its divisor is set by divisor_override; leave that out"):
        integer_network(
            quantised(nn.Sequential(nn.AvgPool2d(2, divisor_override=3)), {"_0": {"data_in": Integer(6, 3)}}, x), x
        )
