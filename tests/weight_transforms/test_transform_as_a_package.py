"""A weight transform in a package of its own, found through its entry point, as the guide says."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs import pages

ROOT = Path(__file__).resolve().parents[2]
GUIDE, PAGE = "docs/how_to/own_weight_transform.md", "docs/concepts/sparsity.md"
CONFIG = '{"by": "type", "linear": {"config": {"name": "integer", "weight_width": 6, "weight_sparsity": 0.5, **KEYS}}}'
USE = f"""
from chop.cli.info import show_info
from chop.ir import MaseGraph
from chop.models import get_model
from chop.passes.graph import quantize_transform_pass
KEYS = {{}}
quantize_transform_pass(MaseGraph(get_model("jsc-tiny")), {CONFIG})
print("without it all is well")
KEYS = {{"weight_clipped": 2.0}}
graph, info = quantize_transform_pass(MaseGraph(get_model("jsc-tiny")), {CONFIG})
print(info["plan"]["seq_blocks_2"]["weight"])
graph.export("graph.safetensors", {{"model": "jsc-tiny"}})
assert MaseGraph.from_checkpoint("graph.safetensors").plan == graph.plan
show_info("weight_transform")
"""
SUITE = "import sys, pytest; sys.exit(pytest.main(['-q', '-p', 'no:cacheprovider', 'test_my_transform.py']))"


def blocks(language: str, page: str = GUIDE) -> list[str]:
    return [block.text for block in pages.blocks(page) if block.language == language]


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A folder with what pip would put beside the module of the page."""
    module = next(text for text in blocks("python") if text.startswith("# my_transform.py\n"))
    (tmp_path / "my_transform.py").write_text(module, encoding="utf-8")
    suite = next(text for text in blocks("python") if "WeightTransformConformance" in text)
    (tmp_path / "test_my_transform.py").write_text(suite, encoding="utf-8")
    facts = tmp_path / "my_transform-1.0.dist-info"
    facts.mkdir()
    (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: my-transform\nVersion: 1.0\n", encoding="utf-8")
    point = next(text for text in blocks("toml") if "entry-points" in text).splitlines()[1].replace('"', "")
    (facts / "entry_points.txt").write_text(f"[chop.weight_transforms]\n{point}\n", encoding="utf-8")
    return tmp_path


def run(folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": f"{ROOT / 'machop'}:{folder}", "COLUMNS": "160"}
    return subprocess.run(
        [sys.executable, *command],
        cwd=folder,
        env=environment,
        text=True,
        capture_output=True,
        check=False,
        encoding="utf-8",
    )


def test_it_is_listed_used_saved_and_conforms(package: Path) -> None:
    done = run(package, "-c", f"{USE}\n{SUITE}")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "clipped at 2 σ then 50% sparse then integer 6b/3f\n" in done.stdout
    assert "Clips weights to" in done.stdout


def test_the_example_of_the_page_says_what_it_does(capsys: pytest.CaptureFixture[str]) -> None:
    exec(next(text for text in blocks("python", PAGE) if text.startswith("import torch")), {})
    values = "tensor([[ 1.0000,  0.0000,  0.0000, -1.5000]])"
    assert capsys.readouterr().out == f"50% sparse then integer 4b/2f {values} 384\n"


def test_a_broken_package_fails_only_when_it_is_asked_for(package: Path) -> None:
    (package / "my_transform.py").write_text("raise RuntimeError('broken')", encoding="utf-8")
    asked = run(package, "-c", USE)
    assert asked.stdout.strip() == "without it all is well"
    assert "the weight transform 'clipped' of package 'my-transform' cannot be loaded" in asked.stderr
