"""The recipe of CONTRIBUTING.md: a number format in a package of its own, found through its entry point."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
POSIT = ROOT / "examples" / "posit"
QUANTISE = """
import torch
from chop.ir import MaseGraph
from chop.models import get_model
from chop.passes.graph import quantize_transform_pass
config = {"by": "type", "linear": {"config": {"name": "posit", "weight_width": 6, "data_in_width": 8}}}
graph, info = quantize_transform_pass(MaseGraph(get_model("jsc-tiny")), config)
print(info["plan"]["seq_blocks_2"]["weight"])
"""
LIST = """
from chop.cli.info import show_info
show_info("format")
"""


def installed(folder: Path) -> dict[str, str]:
    """The environment of a process that has the package: what pip would put beside its module."""
    shutil.copy(POSIT / "chop_posit.py", folder)
    project = tomllib.loads((POSIT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    facts = folder / f"chop_posit-{project['version']}.dist-info"
    facts.mkdir()
    (facts / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n", encoding="utf-8"
    )
    points = project["entry-points"]["chop.formats"]
    (facts / "entry_points.txt").write_text(
        "[chop.formats]\n" + "".join(f"{k} = {v}\n" for k, v in points.items()), encoding="utf-8"
    )
    return {**os.environ, "PYTHONPATH": f"{ROOT / 'machop'}:{folder}", "COLUMNS": "120"}


def run(folder: Path, *command: str) -> str:
    environment = installed(folder)
    found = subprocess.run(
        [sys.executable, *command],
        cwd=folder,
        env=environment,
        text=True,
        capture_output=True,
        check=False,
        encoding="utf-8",
    )
    assert found.returncode == 0, found.stdout + found.stderr
    return found.stdout


def test_it_quantises_and_is_listed(tmp_path: Path) -> None:
    first, *listed = run(tmp_path, "-c", QUANTISE + LIST).splitlines()
    assert first == "posit 6e1"
    assert "posit" in " ".join(listed)


def test_it_keeps_the_laws_of_the_conformance_suite(tmp_path: Path) -> None:
    shutil.copy(POSIT / "test_chop_posit.py", tmp_path)
    assert "passed" in run(tmp_path, "-m", "pytest", "-p", "no:cacheprovider", "test_chop_posit.py")


def test_a_broken_package_fails_only_when_it_is_asked_for(tmp_path: Path) -> None:
    environment = installed(tmp_path)
    (tmp_path / "chop_posit.py").write_text("raise RuntimeError('broken')", encoding="utf-8")
    fine = [sys.executable, "-m", "chop.cli", "test", "toy", "toy_tiny", "--pretrained"]
    subprocess.run(fine, cwd=tmp_path, env=environment, check=True, capture_output=True)
    asked = subprocess.run(
        [sys.executable, "-c", QUANTISE],
        cwd=tmp_path,
        env=environment,
        text=True,
        capture_output=True,
        check=False,
        encoding="utf-8",
    )
    assert "the number format 'posit' of package 'chop-posit' cannot be loaded" in asked.stderr
