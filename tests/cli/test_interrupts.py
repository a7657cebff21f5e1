"""Ctrl-C ends every command with one line that says so, and with status 130."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from chop.actions.search.run.loop import SearchLoop
from tests.cli.test_command_line import ENVIRONMENT, LAB
from tests.conftest import Command


def interrupt(*arguments: object) -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize(
    "command", [("search", "--config", LAB, "--pretrained"), ("train", "jsc-tiny", "jsc"), ("test", "jsc-tiny", "jsc")]
)
def test_a_command_that_is_interrupted_at_its_start_says_so(
    command: tuple[str, ...], tmp_path: Path, ch: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("chop.actions.setup.build_data", interrupt)
    _, err = ch(*command, status=130)
    assert err.splitlines()[-1] == "interrupted" and "Traceback" not in err
    assert not (tmp_path / "mase_output").exists()


def test_what_was_told_already_is_told_once(ch: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SearchLoop, "_go_on", interrupt)
    _, err = ch("search", "--config", LAB, "--pretrained", status=130)
    assert err.count("interrupted") == 1
    assert "interrupted before the first trial: nothing was measured; the same command begins anew" in err


def test_an_interrupt_while_modules_are_imported(tmp_path: Path) -> None:
    (tmp_path / "typer.py").write_text("raise KeyboardInterrupt\n", encoding="utf-8")
    path = f"{tmp_path}:{ENVIRONMENT['PYTHONPATH']}"
    (entry,) = entry_points_of(Path(__file__).resolve().parents[2] / "pyproject.toml")
    for started in (["-m", "chop"], ["-m", "chop.cli"], ["-c", entry]):
        ended = subprocess.run(
            [sys.executable, *started],
            check=False,
            env={**ENVIRONMENT, "PYTHONPATH": path},
            capture_output=True,
            text=True,
            encoding="utf-8",
        )
        assert (ended.returncode, ended.stderr) == (130, "interrupted\n")


def entry_points_of(pyproject: Path) -> list[str]:
    """What the scripts of an installed package run."""
    scripts = tomllib.loads(pyproject.read_text(encoding="utf-8"))["project"]["scripts"]
    parts = [place.partition(":") for place in scripts.values()]
    return [f"from {module} import {name}; {name}()" for module, _, name in parts]
