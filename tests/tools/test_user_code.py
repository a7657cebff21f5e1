"""The user's own files: run once, with errors that name their line."""

from __future__ import annotations

import inspect
import sys
from pathlib import Path

import pytest

from chop.errors import ChopError
from chop.tools.user_code import call_user, is_user_reference, load_plugin, load_user_object, loaded_plugins


def write(folder: Path, text: str, name: str = "mine.py") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("mine.py:build", True),
        ("../a b/mine.py:build", True),
        ("C:\\nets\\mine.py:build", True),
        ("mine.py", False),
        ("jsc-tiny", False),
        ("mine.py:not a name", False),
        ("mine.txt:build", False),
    ],
)
def test_what_is_a_reference(text: str, expected: bool) -> None:
    assert is_user_reference(text) is expected


def test_a_file_runs_once(tmp_path: Path) -> None:
    path = write(tmp_path, "runs = []\ndef add(): runs.append(1); return len(runs)")
    add = load_user_object(f"{path}:add")
    assert add() == 1
    assert load_user_object(f"{path}:add") is add
    assert load_plugin(path).runs == [1]


def test_a_file_that_is_not_python_is_named(tmp_path: Path) -> None:
    path = write(tmp_path, "[search]", "mine.toml")
    with pytest.raises(ChopError, match=r"mine\.toml is no Python file \(\.py\); give the path of a Python file"):
        load_plugin(path)


def test_two_files_of_one_name_are_two_modules(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    paths = [write(tmp_path / folder, f"where = '{folder}'") for folder in ("a", "b")]
    assert [load_plugin(path).where for path in paths] == ["a", "b"]


def test_a_file_may_import_its_neighbour(tmp_path: Path) -> None:
    write(tmp_path, "WIDTH = 7", "chop_test_neighbour.py")
    path = write(tmp_path, "from chop_test_neighbour import WIDTH")
    assert load_user_object(f"{path}:WIDTH") == 7


@pytest.mark.parametrize("is_imported_first", [True, False])
def test_a_file_that_a_neighbour_imports_is_the_same_module(tmp_path: Path, is_imported_first: bool) -> None:
    name = f"chop_test_part_{is_imported_first}"
    part = write(tmp_path, "class Part: ...", f"{name}.py")
    model = write(tmp_path, f"from {name} import Part")
    files = [model, part] if is_imported_first else [part, model]
    modules = {path: load_plugin(path) for path in files}
    assert modules[part].Part is modules[model].Part
    assert {*files} <= {*loaded_plugins()}


def test_a_file_with_the_name_of_a_module_of_python_does_not_take_its_place(tmp_path: Path) -> None:
    path = write(tmp_path, "mine = True", "this.py")
    assert load_plugin(path).mine
    assert path.stem not in sys.modules


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x = 1\ny = x / 0", r"mine\.py:2: ZeroDivisionError: division by zero"),
        ("x = 1\n\ndef f(:", r"mine\.py:3: SyntaxError"),
        ("import not_a_package_at_all", r"mine\.py:1: ModuleNotFoundError"),
        ("import sys\nsys.exit(3)", r"mine\.py:2: SystemExit"),
        ("buildmodel = 1", r"defines no 'build_model'; did you mean 'buildmodel'"),
    ],
)
def test_errors_name_the_line(tmp_path: Path, text: str, message: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(ChopError, match=message):
        load_user_object(f"{path}:build_model")


def test_a_broken_file_can_be_mended_and_loaded_again(tmp_path: Path) -> None:
    path = write(tmp_path, "1 / 0")
    with pytest.raises(ChopError):
        load_plugin(path)
    path.write_text("answer = 42  # longer than before", encoding="utf-8")
    assert load_plugin(path).answer == 42


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ChopError, match="does not exist"):
        load_user_object(f"{tmp_path / 'none.py'}:build")


def test_a_call_that_fails_names_the_users_line(tmp_path: Path) -> None:
    path = write(tmp_path, "def build(width):\n    return [][width]\n")
    with pytest.raises(ChopError, match=r"mine\.py:2: IndexError"):
        call_user(load_user_object(f"{path}:build"), f"{path}:build", 3)


def test_a_module_that_fails_when_it_is_asked_anything_does_not_stop_inspect(tmp_path: Path) -> None:
    file = tmp_path / "strange.py"
    file.write_text(
        "import sys, types\n"
        "def fail(name): raise RuntimeError(name)\n"
        "def build(name):\n"
        "    sys.modules[name] = types.ModuleType(name)\n"
        "    sys.modules[name].__getattr__ = fail\n"
        "build('strange_at_once')\n",
        encoding="utf-8",
    )
    try:
        call_user(load_user_object(f"{file}:build"), f"{file}:build", "strange_later")
        with pytest.raises(RuntimeError):
            sys.modules["strange_later"].anything  # noqa: B018
        assert inspect.getmodule(test_a_file_runs_once.__code__, "a file that no module has") is None
    finally:
        for name in ("strange_at_once", "strange_later"):
            sys.modules.pop(name, None)
