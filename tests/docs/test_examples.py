"""The example files: all hold together; the large enumerations give graded fronts (slow)."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from chop.actions.search.checks import check
from chop.actions.setup import prepare
from chop.config.run_config import load_run_config

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "machop" / "configs" / "examples"
POINTS = {
    "jsc_mlp": 18**4,
    "jsc_s": 18**5,
    "jsc_s_luts": 18**5,
    "jsc_mlp_luts": 27**4,
    "jsc_toy": 18**3,
    "shapes_cnn": 24**4,
    "toy_residual": 9**3 * 3 * 3**2,
}
FRONTS = {"jsc_mlp": 74, "shapes_cnn": 79, "toy_residual": 26}


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.toml")), ids=lambda path: path.stem)
def test_an_example_has_no_problem_and_the_points_it_says(path: Path) -> None:
    config = load_run_config(path, {"is_pretrained": True})
    prepared = prepare(config.options)
    assert not config.problems
    assert path.read_text(encoding="utf-8").startswith("# ")
    if "search" not in config.tables:
        return
    _, space, _, problems = check(prepared.model, prepared.data_module, config.tables["search"])
    assert not problems
    assert space is not None
    points = POINTS.get(path.stem.removesuffix("_brute_force"))
    assert points in (None, space.size)
    assert points is None or f"{points:,} networks" in path.read_text(encoding="utf-8")


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(FRONTS))
def test_a_whole_space_has_a_graded_front(name: str, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "chop.cli", "search", "--config", str(EXAMPLES / f"{name}_brute_force.toml")]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "machop"), "OMP_NUM_THREADS": "1"}
    subprocess.run([*command, "--pretrained"], cwd=tmp_path, env=environment, check=True, capture_output=True)
    (best,) = tmp_path.glob("mase_output/*/software/search_ckpts/best.json")
    front = json.loads(best.read_text(encoding="utf-8")).values()
    assert len(front) == pytest.approx(FRONTS[name], abs=3)
    accuracies = [row["software_metrics"]["accuracy"] for row in front]
    assert max(accuracies) - min(accuracies) > 0.2
