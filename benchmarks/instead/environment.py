"""The rivals' own environment, `.venv-instead`: pinned packages, none of them a dependency of chop."""

from __future__ import annotations

import os
import subprocess
import sys
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
VENV = ROOT / ".venv-instead"
PYTHON = VENV / "bin" / "python"
FOLDER = Path(__file__).resolve().parent
WITHOUT_DEPENDENCIES = ("aimet-torch==2.42.0",)
"""It asks for torchvision, of which no network of this comparison uses anything; what else it needs is in the file."""


def make() -> str:
    """Make the environment if it is not there; the reason why that failed, or nothing."""
    mark = VENV / "requirements.txt"
    wanted = (FOLDER / "requirements.txt").read_text(encoding="utf-8")
    if mark.exists() and mark.read_text(encoding="utf-8") == wanted:
        return ""
    print(f"making {VENV.name} (two minutes, 2 GB)", file=sys.stderr, flush=True)
    venv.create(VENV, with_pip=True)
    failed = pip("--requirement", str(FOLDER / "requirements.txt")) or pip("--no-deps", *WITHOUT_DEPENDENCIES)
    if not failed:
        mark.write_text(wanted, encoding="utf-8")
    return failed


def pip(*arguments: str) -> str:
    """Install packages; the last line that pip said if that failed."""
    command = [str(PYTHON), "-m", "pip", "install", "--quiet", "--no-compile", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", check=False)
    return last_line(done.stderr) if done.returncode else ""


def run(module: str, problem: Path, folder: Path) -> str:
    """Let a rival answer; the last line that it said if it failed."""
    command = [str(PYTHON), "-m", f"instead.{module}", str(problem), str(folder)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(FOLDER.parent)}
    done = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", check=False, env=environment)
    return last_line(done.stderr) if done.returncode else ""


def last_line(text: str) -> str:
    """The last line of what a process said."""
    return (text.strip().splitlines() or ["it failed and said nothing"])[-1]
