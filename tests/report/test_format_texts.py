"""Formats in tables read as the field writes them."""

from __future__ import annotations

from typing import Any

import pytest

from chop.formats import Integer
from chop.report.format_texts import describe_formats


@pytest.mark.parametrize(
    ("config", "text"),
    [
        ({"name": "integer", "data_in_width": 8, "weight_width": 4, "bias_width": 3}, "act 8b/4f, w 4b/2f, bias 3b/1f"),
        ({"name": "integer_floor", "data_in_width": 8, "data_in_frac_width": 6}, "act 8b/6f"),
        (
            {"name": "integer", "weight_width": 8, "weight_frac_width": "auto", "weight_granularity": "channel"},
            "w 8b/auto channel",
        ),
        (
            {"name": "minifloat_ieee", "weight_width": 8, "weight_exponent_width": 4, "weight_exponent_bias": None},
            "w 8b/4e",
        ),
        (
            {
                "name": "mxfp",
                "data_in_element_exp_bits": 4,
                "data_in_element_frac_bits": 3,
                "data_in_block_size": [1, 16],
            },
            "act 4e/3m 1x16",
        ),
        (
            {"name": "binary", "weight_scaled": True, "weight_stochastic": False, "data_out_width": 8},
            "w scaled, out 8b",
        ),
        (
            {"name": "mxint", "key_element_bits": 4, "value_element_bits": 8, "value_scale_bits": 8},
            "key 4b, value 8b scale bits 8",
        ),
    ],
)
def test_each_operand_has_its_bits(config: dict[str, Any], text: str) -> None:
    assert describe_formats({"by": "name", "fc": {"config": config}}, named=False) == f"fc {text}"
    assert describe_formats({"by": "name", "fc": {"config": config}}) == f"fc {config['name']} {text}"


def test_layers_are_told_apart_and_floats_left_out() -> None:
    node = {"config": {"name": "integer", "weight_width": 4}}
    text = describe_formats({"by": "name", "a": node, "b": {"config": {"name": "NA"}}, "c": node}, named=False)
    assert text == "a w 4b/2f; c w 4b/2f"
    assert describe_formats({"by": "name", "b": {"config": {"name": None}}}) == "unquantised"


def test_a_format_says_its_bits_in_the_same_way() -> None:
    assert str(Integer(8, 4)) == "integer 8b/4f"
    assert str(Integer(4, -1)) == "integer 4b/-1f"
    assert str(Integer(8, (2, 5))) == "integer 8b/2f…5f"
    assert str(Integer(8, "auto")) == "integer 8b/auto (min_max)"
