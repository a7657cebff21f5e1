"""How the tables show weights that are transformed."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from chop.formats import FORMATS
from chop.record.trial import Trial
from chop.report.format_texts import describe_formats
from chop.report.search_report import print_summary
from chop.report.transform_texts import KEYS_OF_FORMATS
from tests.report.test_search_report import summary_of

CONFIG = {"name": "integer", "weight_width": 8, "data_in_width": 4, "bias_width": 2}
SPARSE = {**CONFIG, "weight_sparsity": 0.5}


@pytest.mark.parametrize(
    ("config", "text"),
    [
        (SPARSE, "fc integer act 4b/2f, w 8b/4f 50% sparse, bias 2b/1f"),
        ({**CONFIG, "weight_sparsity_pattern": "2:4"}, "fc integer act 4b/2f, w 8b/4f 2:4, bias 2b/1f"),
        ({"name": "NA", "weight_sparsity": 0.75, "weight_sparsity_pattern": "channel"}, "fc w 75% channels"),
        ({"name": "NA", "weight_width": 8}, "unquantised"),
    ],
)
def test_networks_are_told_with_their_transforms(config: dict[str, Any], text: str) -> None:
    assert describe_formats({"by": "name", "fc": {"config": config}}) == text


def test_figures_are_told_dense_and_sparse(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    summary = summary_of(6)
    metrics = {**summary.best[0].trial.metrics, "dense_bitops": 2_469_134.0, "dense_model_size": 98_765.0}
    pruned = replace(summary.best[0], trial=Trial(9, {}, metrics, {}, {}), sampled_config={"fc": {"config": SPARSE}})
    print_summary(replace(summary, best=[pruned]), tmp_path)
    shown = " ".join(capsys.readouterr().out.split())
    assert "1,234,567 of 2,469,134" in shown
    assert "98,765 of" not in shown  # the same
    assert "leave out pruned weights" in shown
    print_summary(summary, tmp_path)
    assert "Pruned weights" not in capsys.readouterr().out


def test_reports_of_plain_formats_load_no_torch() -> None:
    assert {key for name in FORMATS for key in FORMATS[name].keys()} == KEYS_OF_FORMATS  # noqa: SIM118 - no mapping
    code = (
        "import sys; from chop.report.format_texts import describe_formats; "
        f"describe_formats({{'fc': {{'config': {CONFIG}}}}}); assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
