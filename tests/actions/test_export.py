"""`ch export` of a trial whose search trained each network before it measured it: the trained network is written."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from chop.record.folder import SearchFolder
from tests.conftest import Command

SPACE = """
[search.search_space]
name = "graph/quantize/mixed_precision_ptq"
[search.search_space.setup]
by = "type"
[search.search_space.seed.batch_norm1d.config]
name = ["integer"]
data_in_width = [8]
weight_width = [8]
bias_width = [8]
[search.search_space.seed.linear.config]
name = ["integer"]
data_in_width = [8]
weight_width = [3, 6]
bias_width = [8]
"""

RUNNER = """
[search.strategy.sw_runner.basic_train]
num_samples = 2000
learning_rate = 0.01
eval_samples = 512
[search.strategy.metrics.accuracy]
"""


LEARNED = """
[search.strategy]
name = "gradient"
[search.strategy.setup]
epochs = 2
snapshots = 2
train_samples = 1024
"""


@pytest.mark.parametrize(
    "strategy", ['[search.strategy]\nname = "brute_force"\n', LEARNED], ids=["points", "snapshots"]
)
def test_the_network_that_was_measured_is_the_one_that_is_written(strategy: str, ch: Command, tmp_path: Path) -> None:
    """A point of the space, and a network that the search had trained before the runner trained it further."""
    (tmp_path / "trained.toml").write_text(SPACE + strategy + RUNNER, encoding="utf-8")
    ch("search", "jsc-tiny", "jsc", "--config", "trained.toml", "--pretrained", "--project", "p")
    row = SearchFolder(tmp_path / "mase_output/p/software/search_ckpts").best()[0]
    number = str(row.trial.number)
    ch("export", "mase_output/p", "--trial", number, "--to", "onnx")
    file = tmp_path / f"mase_output/p/software/export/trial_{number}_onnx/manifest.json"
    manifest = json.loads(file.read_text(encoding="utf-8"))
    found = {name: tuple(score.values()) for name, score in manifest["scores"].items()}
    assert found == {name: pytest.approx(score, abs=1e-6) for name, score in row.test_metrics.items()}
    assert manifest["network"]["metrics"] == pytest.approx(dict(row.trial.metrics))
    assert all(check["differing"] == 0 for check in manifest["checks"])
