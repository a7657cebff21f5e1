"""The lab's search as a dictionary, and its model and data."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from torch import nn

from chop.dataset import MaseDataModule
from chop.models import get_model

LAB_LISTS: dict[str, Any] = {
    "name": ["integer"],
    "data_in_width": [4, 8],
    "data_in_frac_width": ["NA"],
    "weight_width": [2, 4, 8],
    "weight_frac_width": ["NA"],
    "bias_width": [2, 4, 8],
    "bias_frac_width": ["NA"],
}
LAB: dict[str, Any] = {
    "search_space": {
        "name": "graph/quantize/mixed_precision_ptq",
        "setup": {"by": "name"},
        "seed": {"default": {"config": {"name": ["NA"]}}, "seq_blocks_2": {"config": LAB_LISTS}},
    },
    "strategy": {
        "name": "brute_force",
        "sw_runner": {"basic_evaluation": {"data_loader": "val_dataloader", "num_samples": 512}},
        "hw_runner": {"average_bitwidth": {"compare_to": 32}},
        "setup": {},
        "metrics": {
            "accuracy": {"scale": 1.0, "direction": "maximize"},
            "average_bitwidth": {"scale": 0.2, "direction": "minimize"},
        },
    },
}


@pytest.fixture
def lab() -> dict[str, Any]:
    return copy.deepcopy(LAB)


@pytest.fixture(scope="session")
def jets() -> MaseDataModule:
    data = MaseDataModule("jsc", batch_size=512)
    data.prepare_data()
    data.setup()
    return data


@pytest.fixture
def jsc_tiny() -> nn.Module:
    return get_model("jsc-tiny", pretrained=True)
