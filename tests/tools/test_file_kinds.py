"""The kind of a file is told by its name or its first bytes, and by all commands that take another kind."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

import chop
from chop.errors import SearchError
from chop.models.checkpoint_file import save_tensors
from chop.tools.file_kinds import kind_of
from tests.cli.test_command_line import ENVIRONMENT
from tests.conftest import Command

TOML = "own.toml is a TOML file (`ch search --config` takes it), and not"
SEARCH = f"{TOML} a search: give the folder of one, as mase_output/NAME"
FILE = f"{TOML} a file of weights: give a checkpoint (`ch train` prints where it wrote one) or a saved graph"
COMMANDS = (
    (("export", "own.toml", "--trial", "1", "--to", "onnx"), SEARCH),
    (("test", "--from-search", "own.toml", "--trial", "1"), SEARCH),
    (("transform", "--from-search", "own.toml", "--trial", "1"), SEARCH),
    (("report", "own.toml"), SEARCH),
    (("oracle", "own.toml"), SEARCH),
    (("export-optuna", "own.toml", "--storage", "sqlite:///x.db"), SEARCH),
    (("export", "--load", "own.toml", "--to", "onnx"), FILE),
    (("info", "own.toml"), FILE),
    (("test", "jsc-tiny", "jsc", "--load", "own.toml"), FILE),
    (("search", "jsc-tiny", "jsc", "--load", "own.toml"), FILE),
    (("search", "--config", "rows.json"), "rows.json is a JSON file, and not a TOML file: `ch config examples` lists"),
    (("search", "--config", "net"), "net is a file of weights (--load takes it), and not a TOML file"),
    (("export", "net", "--trial", "1", "--to", "onnx"), "net is a file of weights (--load takes it), and not a search"),
    (("report", "notes.txt"), "notes.txt is a file, and not a search: give the folder of one"),
    (("report", "old/resolved.toml"), "and not a search: give its folder, old"),
)


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """A folder with files of several kinds."""
    for name, text in {"own.toml": "seed = 1", "rows.json": "{}", "notes.txt": "one two"}.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    save_tensors({"w": torch.ones(2)}, tmp_path / "net")
    (tmp_path / "old").mkdir()
    for name in ("resolved.toml", "trials.jsonl"):
        (tmp_path / "old" / name).touch()
    return tmp_path


@pytest.mark.parametrize(("command", "told"), COMMANDS)
def test_a_file_of_another_kind_is_called_what_it_is(
    command: tuple[str, ...], told: str, files: Path, ch: Command
) -> None:
    _, err = ch(*command, status=(1, 2))
    assert told in err.replace("\n", " ") and "damaged" not in err and "Traceback" not in err
    assert not (files / "mase_output").exists() and not (files / "x.db").exists()


def test_the_kind_of_a_file_is_told_before_torch_is_imported(files: Path) -> None:
    code = (
        "import sys\nfrom chop.cli.main import main\n"
        "try:\n    main()\nexcept SystemExit:\n    print('torch' in sys.modules)"
    )
    for command in (COMMANDS[0], COMMANDS[1], COMMANDS[6], COMMANDS[7]):
        result = subprocess.run(
            [sys.executable, "-c", code, *command[0]],
            cwd=files, env=ENVIRONMENT, text=True, capture_output=True, check=True, encoding="utf-8",
        )  # fmt: skip
        assert command[1] in result.stderr and result.stdout == "False\n"


def test_python_says_the_same(files: Path) -> None:
    with pytest.raises(SearchError, match=r"is a TOML file .*, and not a search"):
        chop.load_study(files / "own.toml")
    with pytest.raises(chop.ChopError, match=r"is a TOML file .*, and not a file of weights"):
        chop.get_model("jsc-tiny", checkpoint=files / "own.toml")


def test_what_cannot_be_told_has_no_kind(files: Path) -> None:
    torch.save({"w": torch.ones(2)}, files / "state")
    kinds = {name: kind.name for name in ("net", "state", "rows.json") if (kind := kind_of(files / name))}
    assert kinds == {"net": "a file of weights", "state": "a file of weights", "rows.json": "a JSON file"}
    assert [kind_of(files / name) for name in ("notes.txt", "none.toml", "old")] == [None] * 3
