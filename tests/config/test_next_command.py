"""Commands that a message tells to run next are those of a shell, with the user's own code."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from chop.config.next_command import file_command, scoring_command
from chop.config.options import RunOptions


def test_names_of_files_are_quoted_and_plugins_are_named_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("my model.py", "my task.py"):
        (tmp_path / name).write_text("", encoding="utf-8")
    monkeypatch.setattr("chop.config.next_command.loaded_plugins", lambda: [*map(Path.resolve, tmp_path.glob("*.py"))])
    options = RunOptions(model="my model.py:build", dataset="jsc", task="regression")
    load = Path("mase_output/my <net> & co/best.ckpt")
    assert shlex.split(scoring_command(options, load)) == [
        *("ch", "test", "my model.py:build", "jsc", "--load", str(load), "--task", "regression"),
        *("--plugin", "my task.py"),
    ]
    assert file_command(options, "ch", "search", "--config", "a b.toml") == (
        "ch search --config 'a b.toml' --model 'my model.py:build' --plugin 'my task.py'"
    )
