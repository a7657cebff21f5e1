"""Every text file is read and written as UTF-8, whatever the locale is."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = ("machop", "scripts", "benchmarks", "examples", "tests")
FILES = sorted(file for folder in FOLDERS for file in (ROOT / folder).rglob("*.py"))
PROCESSES = ("run", "Popen", "check_output", "call", "check_call")


def without_encoding(source: str) -> Iterator[int]:
    """The lines of calls that read or write text in the encoding of the locale."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and _is_text(node) and not _states_encoding(node):
            yield node.lineno


def _is_text(call: ast.Call) -> bool:
    name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
    if name in ("read_text", "write_text"):
        return True
    if name in PROCESSES:
        return any(word.arg in ("text", "universal_newlines") for word in call.keywords)
    is_builtin = isinstance(call.func, ast.Name)
    if name == "fdopen" or (name == "open" and (is_builtin or _opens_a_path(call))):
        place = 1 if is_builtin or name == "fdopen" else 0
        mode = next((word.value for word in call.keywords if word.arg == "mode"), None) or (
            call.args[place] if len(call.args) > place else None
        )
        return not (isinstance(mode, ast.Constant) and "b" in str(mode.value)) and not (
            mode is not None and not isinstance(mode, ast.Constant)
        )
    return False


def _opens_a_path(call: ast.Call) -> bool:
    """Whether `x.open(…)` is that of a path: nothing but a mode is given."""
    return (
        all(isinstance(arg, ast.Constant) and isinstance(arg.value, str) for arg in call.args) and len(call.args) <= 1
    )


def _states_encoding(call: ast.Call) -> bool:
    return any(word.arg in ("encoding", None) for word in call.keywords)


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_text_is_read_and_written_as_utf_8(file: Path) -> None:
    lines = list(without_encoding(file.read_text(encoding="utf-8")))
    assert not lines, f'{file.relative_to(ROOT)}: state encoding="utf-8" in lines {lines}'


@pytest.mark.parametrize(
    ("source", "is_found"),
    [
        ("path.read_text()", True),
        ('path.read_text(encoding="utf-8")', False),
        ('path.write_text("a")', True),
        ('path.open("w")', True),
        ("path.open()", True),
        ('path.open("rb")', False),
        ('open("x", "a")', True),
        ('open("x", mode="rb")', False),
        ('subprocess.run(["ls"], text=True)', True),
        ('subprocess.run(["ls"])', False),
        ("JsonLines.open(path, BLOCKS)", False),
    ],
)
def test_the_scan_sees_what_it_is_for(source: str, is_found: bool) -> None:
    assert bool(list(without_encoding(source))) is is_found
