"""The notebooks of the documentation run, and show what is stored in them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("nbclient", reason="the packages for notebooks are not installed")
nbformat = pytest.importorskip("nbformat")

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOKS = sorted((ROOT / "docs" / "tutorials").glob("*.ipynb"))
MOST_BYTES = 300_000


def checked(path: Path) -> subprocess.CompletedProcess[str]:
    """A notebook that is run again, and compared with what it stores."""
    command = [sys.executable, str(ROOT / "scripts" / "notebooks.py"), "--check", str(path)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "machop"), "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, env=environment, text=True, capture_output=True, check=False, encoding="utf-8")


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs_and_shows_what_is_stored(path: Path) -> None:
    result = checked(path)
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_stored_notebook_is_small_whole_and_names_no_place(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert len(text) < MOST_BYTES
    assert str(ROOT) not in text and "/tmp" not in text and " at 0x" not in text
    cells = [cell for cell in json.loads(text)["cells"] if cell["cell_type"] == "code"]
    assert all(cell["execution_count"] == place for place, cell in enumerate(cells, start=1))
    assert sum(bool(cell["outputs"]) for cell in cells) > len(cells) / 2


@pytest.mark.parametrize(
    ("code", "status", "told"), [("print(1 + 1)", 0, ""), ("print(3)", 1, "now\n3"), ("1 / 0", 1, "ZeroDivision")]
)
def test_a_notebook_that_fails_or_shows_something_else_is_found(
    code: str, status: int, told: str, tmp_path: Path
) -> None:
    cell = nbformat.v4.new_code_cell(code, outputs=[nbformat.v4.new_output("stream", name="stdout", text="2\n")])
    cell.metadata["tags"] = ["checked"]
    nbformat.write(nbformat.v4.new_notebook(cells=[cell]), tmp_path / "own.ipynb")
    result = checked(tmp_path / "own.ipynb")
    assert (result.returncode, told in result.stdout) == (status, True), result.stdout + result.stderr


def test_the_script_of_the_lab_stands_in_its_notebook_as_it_is() -> None:
    script = (ROOT / "docs" / "labs" / "lab3.py").read_text(encoding="utf-8")
    code = script[script.index("import sys") :]
    cells = json.loads((ROOT / "docs" / "tutorials" / "lab3_notebook.ipynb").read_text(encoding="utf-8"))["cells"]
    sources = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    assert "".join("".join(own for own in sources if own in code and len(own) > 200).split()) == "".join(code.split())
