"""Every format that ships, with usual and with odd parameters, against the conformance suite."""

from __future__ import annotations

from chop.formats import (
    FORMATS,
    MXFP,
    Binary,
    BlockFP,
    BlockLog,
    BlockMinifloat,
    Format,
    Integer,
    IntegerFloor,
    Log,
    MinifloatDenorm,
    MinifloatIEEE,
    MXInt,
    ScaleInteger,
    Ternary,
)
from chop.testing import FormatConformance

WHOLE = (-1,)

INSTANCES: list[Format] = [
    Integer(8, 4),
    Integer(1, 0),
    Integer(6, -3),
    Integer(4, 9, is_signed=False),
    Integer(6, "auto"),
    Integer(6, "auto", range_rule="quantile", quantile=0.9),
    Integer(6, "auto", range_rule="mse", granularity="channel"),
    IntegerFloor(8, 4),
    IntegerFloor(5, "auto"),
    MinifloatIEEE(8, 4),
    MinifloatIEEE(8, 5, 20),
    MinifloatIEEE(16, 8),
    MinifloatIEEE(2, 1),
    MinifloatIEEE(4, 3),
    MinifloatIEEE(9, 4, -90),
    MinifloatDenorm(8, 4),
    MinifloatDenorm(4, 2),
    MinifloatDenorm(12, 8),
    Log(4),
    Log(8),
    Log(9),
    Log(5, 30),
    Log(2),
    BlockFP(width=4, exponent_width=8, block_size=WHOLE),
    BlockFP(width=8, exponent_width=4, block_size=WHOLE),
    BlockFP(width=2, exponent_width=8, exponent_bias=20, block_size=WHOLE, skip_first_dim=True),
    BlockMinifloat(width=8, exponent_width=4, exponent_bias_width=8, block_size=WHOLE),
    BlockMinifloat(width=6, exponent_width=2, exponent_bias_width=4, block_size=WHOLE),
    BlockMinifloat(width=4, exponent_width=3, exponent_bias_width=8, block_size=WHOLE),
    BlockLog(width=4, exponent_bias_width=8, block_size=WHOLE),
    BlockLog(width=8, exponent_bias_width=3, block_size=WHOLE),
    MXInt(element_bits=8, block_size=WHOLE),
    MXInt(element_bits=4, scale_bits=4, block_size=WHOLE),
    *(
        MXFP(element_exp_bits=e, element_frac_bits=m, block_size=WHOLE)
        for e, m in ((4, 3), (5, 2), (3, 2), (2, 3), (2, 1), (1, 2), (3, 0))
    ),
    MXFP(element_exp_bits=4, element_frac_bits=3, scale_exp_bits=4, block_size=WHOLE),
    Binary(),
    Binary(bipolar=False),
    Binary(scaled=True),
    Binary(scaled=True, granularity="channel"),
    Binary(stochastic=True),
    Binary(stochastic=True, bipolar=False, scaled=True),
    Ternary(),
    Ternary(scaling_factor=True),
    Ternary(scaling_factor=True, median=1.0),
    Ternary(max=0.05),
    Ternary(mean=0.7),
    ScaleInteger(width=8),
    ScaleInteger(width=4, symmetric=False),
    ScaleInteger(width=8, granularity="channel", range_rule="quantile", quantile=0.9),
]


class TestFormats(FormatConformance):
    """The suite over all instances."""

    formats = INSTANCES


def test_no_format_is_left_out() -> None:
    assert {type(instance) for instance in INSTANCES} == {FORMATS[name] for name in FORMATS}


def test_a_block_size_may_be_a_list_as_in_a_file() -> None:
    made = BlockFP(width=4, exponent_width=8, block_size=[1, 16])  # type: ignore[arg-type]
    assert made == BlockFP(width=4, exponent_width=8, block_size=(1, 16))
    assert hash(made) == hash(BlockFP(width=4, exponent_width=8, block_size=(1, 16)))
