"""The file of a small training for a space, which several test files use."""

from __future__ import annotations

from pathlib import Path

import pytest

TOML = """
model = "toy"
dataset = "toy_tiny"
project = "p"

[train_for_space]
max_epochs = 2
probes = 3
probe_samples = 100

[search.search_space]
name = "graph/quantize/mixed_precision_ptq"
[search.search_space.setup]
by = "type"
[search.search_space.seed.linear.config]
name = ["integer"]
data_in_width = [4, 8]
weight_width = [2, 8]
weight_frac_width = ["auto"]

[search.strategy]
name = "brute_force"
[search.strategy.sw_runner.basic_evaluation]
data_loader = "val_dataloader"
num_samples = 256
[search.strategy.hw_runner.average_bitwidth]
[search.strategy.metrics]
accuracy.direction = "maximize"
average_bitwidth.direction = "minimize"
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """`TOML` in the folder of the test."""
    file = tmp_path / "space.toml"
    file.write_text(TOML, encoding="utf-8")
    return file
