"""Commands where Python's locale is not UTF-8, among folders and files that have other letters."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import chop
from chop.config.run_config import load_run_config
from chop.errors import ConfigError

PACKAGE = str(Path(chop.__file__).parents[1])
ASCII = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONIOENCODING": "ascii", "PYTHONPATH": PACKAGE}
PASSES = '# Zähler ×\nmodel = "jsc-tiny"\ndataset = "jsc"\n[passes.count_costs]\n'


def ch(folder: Path, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-m", "chop.cli", *arguments],
        env={**os.environ, **ASCII},
        cwd=folder,
        capture_output=True,
        check=False,
    )


def test_tables_are_shown_where_the_terminal_lacks_their_letters(tmp_path: Path) -> None:
    shown = ch(tmp_path, "info", "format")
    assert shown.returncode == 0, shown.stderr
    assert b"?" in shown.stdout


def test_files_are_read_and_written_among_folders_with_other_letters(tmp_path: Path) -> None:
    folder = tmp_path / "Größe"
    folder.mkdir()
    (folder / "süß.toml").write_text(PASSES, encoding="utf-8")
    done = ch(folder, "transform", "--config", "süß.toml", "--project", "p")
    assert done.returncode == 0, done.stderr
    assert (folder / "mase_output" / "p" / "software" / "transform" / "graph.safetensors").exists()
    refused = ch(folder, "transform", "--config", "süß.toml", "--project", "prüfung")
    assert refused.returncode == 2
    assert b"set PYTHONUTF8=1" in refused.stderr


def test_a_folder_that_the_file_system_cannot_name_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fsencode(value: str) -> bytes:
        return value.encode("ascii")

    file = tmp_path / "x.toml"
    file.write_text('model = "jsc-tiny"\ndataset = "jsc"\nproject = "prüfung"\n', encoding="utf-8")
    assert not load_run_config(file, {}).problems
    monkeypatch.setattr(os, "fsencode", fsencode)
    config = load_run_config(file, {})
    with pytest.raises(ConfigError, match=r"x.toml:3: project: 'ü' cannot stand in a path"):
        config.raise_if_problems()
