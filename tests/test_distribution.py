"""The wheel, built from the sdist: what is in it, and that it works away from the repository."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tarfile
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest

import chop

ROOT = Path(__file__).resolve().parents[1]
EXTRAS = "alkaid cmaes hls4ml hypothesis matplotlib onnx onnxruntime onnxscript pandas pytest qonnx transformers wandb"
BARE = f"""
import os, sys

def refuse(event, arguments):
    if event == "open" and isinstance(arguments[0], str):
        path = os.path.abspath(arguments[0])
        if path.startswith({(f"{ROOT}/machop/", f"{ROOT}/docs/", f"{ROOT}/scripts/")!r}):
            raise RuntimeError(f"{{path}} is a file of the repository")

sys.addaudithook(refuse)
sys.modules.update(dict.fromkeys({EXTRAS.split()!r}))
"""
"""Run at the start of each process: makes it fail where it opens a file of the repository or imports an extra."""


def run(*command: str | Path, cwd: Path = ROOT, **environment: str) -> str:
    result = subprocess.run(
        command,
        cwd=cwd,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    run(sys.executable, "scripts/make_wheel.py", folder)
    return folder


def files_of_the_package() -> set[str]:
    """As installed; the folder of the examples is a link."""
    machop = ROOT / "machop"
    walk = os.walk(machop / "chop", followlinks=True)
    paths = {Path(folder, name).relative_to(machop) for folder, _, names in walk for name in names}
    return {str(path) for path in paths if not any(part.startswith((".", "__pycache__")) for part in path.parts)}


def test_the_wheel_holds_the_package_whole_and_nothing_else(dist: Path) -> None:
    (wheel,) = dist.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        content = {name: archive.read(name) for name in archive.namelist()}
    facts = f"chop_search-{chop.__version__}.dist-info/"
    assert {name for name in content if not name.startswith(facts)} == files_of_the_package()
    assert {"chop/py.typed", "chop/examples/jsc_toy_by_type.toml", f"{facts}licenses/LICENSE"} <= set(content)
    assert not [name for name, data in content.items() if f"{ROOT}/".encode() in data]
    assert wheel.stat().st_size < 6e6


def test_the_sdist_holds_what_the_wheel_is_made_of_and_no_tests(dist: Path) -> None:
    (sdist,) = dist.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        members = {member.name.partition("/")[2]: member for member in archive.getmembers()}
    assert {f"machop/{name}" for name in files_of_the_package()} <= set(members)
    assert {"LICENSE", "CITATION.cff", "CHANGELOG.md", "README.md", "pyproject.toml"} <= set(members)
    assert not [name for name, member in members.items() if member.issym() or re.match("tests|docs|benchmarks", name)]


def test_the_version_is_the_same_everywhere(dist: Path) -> None:
    (wheel,) = dist.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        metadata = Parser().parsestr(archive.read(name).decode())
    assert metadata["Version"] == chop.__version__
    cited = re.findall("^version: (.*)$", (ROOT / "CITATION.cff").read_text(encoding="utf-8"), re.MULTILINE)
    assert cited == [chop.__version__]
    changes = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert re.findall("^## (.*)$", changes, re.MULTILINE)[0] == chop.__version__


def test_an_installed_wheel_searches_from_another_folder(dist: Path, tmp_path: Path) -> None:
    (wheel,) = dist.glob("*.whl")
    target, here = tmp_path / "installed", tmp_path / "here"
    here.mkdir()
    run(
        sys.executable,
        "-m",
        "pip",
        "install",
        "-q",
        "--no-index",
        "--no-deps",
        "--no-compile",
        "--target",
        target,
        wheel,
    )
    (target / "sitecustomize.py").write_text(BARE, encoding="utf-8")

    def ch(*arguments: str) -> str:
        return run(target / "bin" / "ch", *arguments, cwd=here, PYTHONPATH=str(target), COLUMNS="120")

    module = run(sys.executable, "-c", "import chop; print(chop.__file__)", cwd=here, PYTHONPATH=str(target))
    assert Path(module).is_relative_to(target)
    assert "jsc_tiny_brute_force" in ch("config", "examples")
    ch("config", "examples", "jsc_tiny_brute_force", "--output", ".")
    assert "of 18 measured configurations" in ch("search", "--config", "jsc_tiny_brute_force.toml", "--pretrained")
    assert "report.html" in ch("report", "mase_output/jsc-tiny-brute-force")
