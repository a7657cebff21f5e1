"""Quantisers against vectors that an independent implementation computed: equal bit for bit."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from chop.formats import FORMATS
from tests.conftest import golden_arrays, golden_cases


@pytest.mark.parametrize(
    "case", golden_cases("quantizer_cases"), ids=lambda case: f"{case['quantizer']}-{case['output']}"
)
def test_quantiser_equals_the_golden_vector_bit_for_bit(case: dict[str, Any]) -> None:
    arrays = golden_arrays(case["file"])
    number_format = FORMATS[case["quantizer"]](**case["params"])
    got = number_format.quantize(arrays[case["input"]])
    assert torch.equal(got.view(torch.int32), arrays[case["output"]].view(torch.int32))
