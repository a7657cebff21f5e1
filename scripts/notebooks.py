"""Runs the notebooks of docs/tutorials and stores their outputs: `make notebooks`; with --check it compares them."""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

from chop.report.notebook.progress import METADATA

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOKS = ROOT / "docs" / "tutorials"
SECONDS = 300
CHECKED = "checked"
"""The tag of cells whose texts must be the same whenever they run."""


def main() -> int:
    """Run the notebooks that are named, or all, and store or compare their outputs."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("notebook", nargs="*", type=Path, help="[default: all of docs/tutorials]")
    arguments.add_argument("--check", action="store_true", help="store nothing: fail if an output differs")
    given = arguments.parse_args()
    failures = 0
    for path in given.notebook or sorted(NOTEBOOKS.glob("*.ipynb")):
        try:
            found = executed(path)
        except CellExecutionError as error:
            print(f"{path.name}: {error}")
            failures += 1
            continue
        if given.check:
            failures += _compared(path, found)
        else:
            nbformat.write(found, path)
            print(f"{path.name}: {path.stat().st_size / 1024:.0f} KiB")
    return min(failures, 1)


def executed(path: Path) -> Any:
    """A notebook as it is after a run in a copy of its folder; raises CellExecutionError where a cell fails.

    The copy lies as deep below the package as the folder itself, where the lab looks for it.
    """
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "docs" / "tutorials"
        folder.mkdir(parents=True)
        (Path(scratch) / "machop").symlink_to(ROOT / "machop")
        shutil.copy(path, folder)
        notebook = nbformat.read(path, as_version=4)
        about: Any = {"resources": {"metadata": {"path": str(folder)}}, "coalesce_streams": True}
        NotebookClient(notebook, timeout=SECONDS, kernel_name="python3", **about).execute()
    return cleaned(notebook)


def cleaned(notebook: Any) -> Any:
    """A notebook without what differs from run to run: bars, standard error, times, the version of the kernel."""
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
        if cell.cell_type == "code":
            cell.outputs = [own for own in cell.outputs if not _is_passing(own)]
    notebook.metadata.pop("language_info", None)
    return notebook


def _is_passing(output: Any) -> bool:
    is_bar: bool = output.get("metadata", {}).items() >= METADATA.items()
    return is_bar or output.get("name") == "stderr"


def _compared(path: Path, found: Any) -> int:
    """How many of the cells that are tagged have other texts than those that are stored."""
    stored = nbformat.read(path, as_version=4)
    differing = 0
    for number, (before, after) in enumerate(zip(stored.cells, found.cells, strict=True)):
        if CHECKED in before.metadata.get("tags", []) and text_of(before) != text_of(after):
            differing += 1
            print(f"{path.name}, cell {number}: stored\n{text_of(before)}\nnow\n{text_of(after)}")
    return differing


def text_of(cell: Any) -> str:
    """What the outputs of a cell show as text, however it came in pieces; pictures have none."""
    shown = [own for own in cell.outputs if "image/png" not in own.get("data", {})]
    return "".join(own.get("text", own.get("data", {}).get("text/plain", "")) for own in shown)


if __name__ == "__main__":
    sys.exit(main())
