"""What is written of a rounding computes what the format computes, in all forms and by all tools."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from onnx import helper

from chop.exporters.onnx.lowering import lowered
from chop.exporters.onnx.rounding import ANYWHERE, FORMS
from chop.exporters.onnx.steps import can_round
from chop.formats import FORMATS, Format, Integer
from chop.formats.measured_tensor import MeasuredTensor
from tests.exporters.onnx.by_hand import assert_equal, rounded, skeleton

CHANNELS = 4


def made(name: str, **values: object) -> Format:
    return FORMATS[name].from_keys(values, channel_axis=-1)


def learned(name: str = "integer") -> Format:
    widths = MeasuredTensor(torch.tensor([[0, 1, 3, 8]], dtype=torch.int8))
    fractions = MeasuredTensor(torch.tensor([[0, 0, 4, -2]], dtype=torch.int8))
    return FORMATS[name](width=8, frac_width=fractions, element_width=widths)


SAMPLE = torch.tensor([[0.7, -3.1, 0.02, 8.0], [-0.9, 2.2, -0.31, 5.5]])
EXACT = [
    *(made("integer", width=width, frac_width=frac) for width, frac in ((1, 0), (2, 1), (4, 2), (8, 4), (8, 0))),
    *(made("integer", width=width, frac_width=frac) for width, frac in ((7, -2), (6, 9), (8, 12), (12, 5), (16, 9))),
    *(made("integer", width=width, frac_width=frac) for width, frac in ((20, 9), (32, 3))),
    *(FORMATS["integer"](width=width, frac_width=3, is_signed=False) for width in (3, 4, 7, 8, 11, 16)),
    *(made("integer_floor", width=width, frac_width=2) for width in (3, 8, 10, 18)),
    made("integer", width=6, frac_width=[1, 2, 3, -1]),
    made("integer", width=12, frac_width=[1, 2, 3, -1]),
    made("integer_floor", width=8, frac_width=[1, 2, 3, -1]),
    *(made("scale_integer", width=width).calibrated(SAMPLE) for width in (4, 8, 11, 16)),
    *(made("scale_integer", width=width, symmetric=False).calibrated(SAMPLE) for width in (4, 8, 11)),
    *(made("scale_integer", width=w, symmetric=False, granularity="channel").calibrated(SAMPLE) for w in (5, 8, 12)),
    *(made("minifloat_ieee", width=width, exponent_width=exp) for width, exp in ((8, 4), (8, 5), (4, 2), (6, 3))),
    made("minifloat_ieee", width=7, exponent_width=3, exponent_bias=5),
    *(made("minifloat_denorm", width=width, exponent_width=exp) for width, exp in ((8, 4), (6, 3))),
    made("binary"),
    made("binary", bipolar=False, scaled=True).calibrated(SAMPLE),
    made("ternary", scaling_factor=True).calibrated(SAMPLE),
    learned(),
    learned("integer_floor"),
]


def inputs() -> torch.Tensor:
    """Random values of many magnitudes, halves between codes, ends of ranges, zeros."""
    generator = torch.Generator().manual_seed(0)
    wide = torch.randn(200, CHANNELS, generator=generator) * torch.exp2(
        torch.randint(-9, 9, (200, CHANNELS), generator=generator)
    )
    steps = torch.arange(-600, 600).reshape(-1, CHANNELS)
    ends = torch.tensor([[0.0, -0.0, 1e-30, -1e-30], [2.0**-9, 480.0, 464.0, 463.9]])
    return torch.cat([wide, steps / 8, steps / 64, steps * 0.37, ends])


@pytest.mark.parametrize("form", [FORMS[name] for name in ANYWHERE], ids=ANYWHERE)
@pytest.mark.parametrize("chosen", EXACT, ids=str)
def test_rounds_as_the_format_does(chosen: Format, form: object) -> None:
    assert can_round(chosen)
    x = inputs()
    model = lowered(skeleton([rounded("x", "output", "node.data_in")], {"node.data_in": chosen}, [CHANNELS]), form)
    assert_equal(model, x.numpy(), chosen.quantize(x).numpy())
    far = torch.tensor([[1e30, -1e30, 1e38, 3e9]])  # onnx's own evaluator casts these to integers of 32 bits
    assert_equal(model, far.numpy(), chosen.quantize(far).numpy(), with_reference=False)


@pytest.mark.parametrize("chosen", [made("log", width=4), made("mxint", element_bits=4, block_size=[4])], ids=str)
def test_formats_that_onnx_lacks_are_known(chosen: Format) -> None:
    assert not can_round(chosen)


def test_random_binary_and_open_scales_by_channel_are_refused() -> None:
    assert not can_round(made("binary", stochastic=True))
    assert not can_round(made("binary", scaled=True, granularity="channel"))


PAIRS = [(first, second) for first in ((8, 4), (8, 2), (6, 3)) for second in ((8, 4), (8, 6), (5, 1))]


@pytest.mark.parametrize("form", [FORMS[name] for name in ANYWHERE], ids=ANYWHERE)
@pytest.mark.parametrize(("first", "second"), PAIRS)
@pytest.mark.parametrize("is_signed", [True, False])
def test_two_roundings_in_a_row_stay_two(
    first: tuple[int, int], second: tuple[int, int], is_signed: bool, form: object
) -> None:
    """ONNX Runtime joins neighbouring pairs into one with another scale, unless a Clip stands between them."""
    formats = {"a.data_in": Integer(*first, is_signed=is_signed), "b.data_in": Integer(*second)}
    nodes = [
        rounded("x", "a", "a.data_in"),
        helper.make_node("Relu", ["a"], ["positive"]),
        helper.make_node("Reshape", ["positive", "shape"], ["moved"]),
        rounded("moved", "b", "b.data_in"),
        helper.make_node("Neg", ["b"], ["output"]),
    ]
    x = inputs()
    own = skeleton(nodes, formats, [CHANNELS], {"shape": np.array([-1, 2, 2])}, rank=3)
    wanted = -formats["b.data_in"].quantize(formats["a.data_in"].quantize(x).relu()).reshape(-1, 2, 2)
    assert_equal(lowered(own, form), x.numpy(), wanted.numpy())
