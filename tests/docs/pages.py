"""Runs the blocks of a page in order, as a reader would: commands, Python, files; compares what they print.

How a page marks its blocks is in CONTRIBUTING.md, under "Documentation".
"""

from __future__ import annotations

import contextlib
import io
import json
import re
import shlex
import subprocess
import sys
import textwrap
import tomllib
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import REGISTRIES

ROOT = Path(__file__).resolve().parents[2]
PAGES = {
    path.relative_to(ROOT).as_posix(): path
    for path in sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
    if "_build" not in path.parts
}
FENCE = re.compile(r"^( *)(`{3,})([^\n`]*)\n(.*?)^\1\2 *$", re.MULTILINE | re.DOTALL)
FILE = re.compile(r"# (\w+\.(?:py|toml))\n")
SHELL = {"console", "bash"}
EXECUTED = {*SHELL, "python"}
REPOSITORY = ("machop", "docs", "examples")
"""What of the repository a page finds in the folder where it runs."""


@dataclass(frozen=True)
class Block:
    """One fenced block: its language, its mark (`no-run: why`) and its text."""

    page: str
    line: int
    language: str
    mark: str
    why: str
    text: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line} ({self.language})"


def blocks(page: str) -> list[Block]:
    """The blocks of a page, in order; directives such as `{toctree}` are none."""
    text = PAGES[page].read_text(encoding="utf-8")
    return [block_of(page, text, found) for found in FENCE.finditer(text) if not found[3].startswith("{")]


def block_of(page: str, text: str, found: re.Match[str]) -> Block:
    language, _, note = found[3].strip().partition(" ")
    mark, _, why = note.partition(":")
    line = text.count("\n", 0, found.start()) + 1
    return Block(page, line, language, mark.strip(), why.strip(), textwrap.dedent(found[4]))


def problem(block: Block) -> str:
    """What is wrong with how a block is marked; an empty text if nothing is."""
    marks = {"console": ("no-run", "fails"), "bash": ("no-run", "fails"), "python": ("no-run", "alone", "raises")}
    known = marks.get(block.language, ("no-run", "no-check"))
    if block.mark and block.mark not in known:
        return f"{block}: unknown mark '{block.mark}' (known: {', '.join(known)})"
    if block.mark.startswith("no-") and len(block.why) < 4:
        return f"{block}: '{block.mark}' needs a reason: ```{block.language} {block.mark}: why"
    if block.language not in {*EXECUTED, *CHECKED} and block.mark != "no-run":
        return f"{block}: no test runs this language; say '{block.language or 'text'} no-run: why'"
    return ""


def run_page(page: str, folder: Path, ch: Callable[..., tuple[str, str]], short: Short | None) -> PageRun:
    """Run a page in an empty folder and return what its blocks printed; `ch` calls the command line."""
    for name in REPOSITORY:
        (folder / name).symlink_to(ROOT / name)
    short = short or Short()
    short.write_files(folder)
    run = PageRun(folder, ch)
    as_written = blocks(page)
    for block, shortened in zip(as_written, short.replaced(as_written), strict=True):
        run.step(shortened, is_short=shortened != block)
    return run


@dataclass
class PageRun:
    """The state between the blocks of a page."""

    folder: Path
    ch: Callable[..., tuple[str, str]]
    namespace: dict[str, Any] = field(default_factory=lambda: {"__name__": "page"})
    printed: list[tuple[Block, str]] = field(default_factory=list)
    """Each block that ran, with what it printed."""

    last_ran: bool = False
    last_was_short: bool = False

    def step(self, block: Block, is_short: bool = False) -> None:
        """Run, save or compare one block; what a shortened block prints is not compared."""
        if block.mark in {"no-run", "no-check"}:
            print(f"not run, {block}: {block.why}")
            self.last_ran = self.last_ran and block.language not in EXECUTED
        elif found := FILE.match(block.text):
            (self.folder / found[1]).write_text(block.text, encoding="utf-8")
        elif block.language in EXECUTED:
            self.printed.append((block, self._output(block)))
            self.last_ran, self.last_was_short = True, is_short
        elif block.language == "text":
            assert self.last_ran, f"{block}: no block that runs is before it; say 'text no-check: why'"
            if not self.last_was_short:
                assert_printed(block, self.printed[-1][1])
        else:
            CHECKED[block.language](block)

    def _output(self, block: Block) -> str:
        try:
            if block.language in SHELL:
                return "\n".join(self._command(line, block.mark == "fails") for line in commands(block))
            return self._python(block)
        except (Exception, SystemExit) as error:
            error.add_note(f"in {block}")
            raise

    def _command(self, line: str, fails: bool) -> str:
        program, *words = shlex.split(line, comments=True)
        if program in {"ch", "machop/ch"}:
            with as_a_process(self.folder):
                return "\n".join(self.ch(*words, status=(1, 2) if fails else 0))
        if program == ".venv/bin/python":
            program = "python"
        if program == "python" and words[:2] == ["-m", "pytest"]:
            return self.suite(words[2:], fails)
        assert program == "python", f"the tests run ch and python, not {program}; say 'no-run: why'"
        result = subprocess.run(
            [sys.executable, *words], cwd=self.folder, text=True, capture_output=True, check=False, encoding="utf-8"
        )
        assert (result.returncode != 0) == fails, result.stdout + result.stderr
        return result.stdout + result.stderr

    def suite(self, words: list[str], fails: bool) -> str:
        """Run pytest in the folder of the page, within this process, which has torch already; what it prints."""
        own = [f"--rootdir={self.folder}", "-p", "no:cacheprovider", "-p", "no:faulthandler"]
        with (
            as_a_process(self.folder),
            contextlib.chdir(self.folder),
            contextlib.redirect_stdout(io.StringIO()) as told,
        ):
            status = pytest.main([*words, *own])
        assert (status != 0) == fails, told.getvalue()
        return told.getvalue()

    def _python(self, block: Block) -> str:
        space = {"__name__": "page"} if block.mark == "alone" else self.namespace
        code = compile("\n" * block.line + block.text, PAGES[block.page], "exec")
        with contextlib.chdir(self.folder), contextlib.redirect_stdout(io.StringIO()) as printed:
            if block.mark == "raises":
                return exception_text(code, space)
            exec(code, space)
        return printed.getvalue()


@contextlib.contextmanager
def as_a_process(folder: Path) -> Iterator[None]:
    """What a command imports from the folder of a page, and registers, ends with it."""
    before = set(sys.modules)
    with ExitStack() as stack:
        for registry in REGISTRIES:
            stack.enter_context(registry.restored())
        yield
    forget_modules(folder, before)


def forget_modules(folder: Path, before: set[str]) -> None:
    """Forget the modules of a folder that are not among those `before`."""
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", None) or "").startswith(str(folder)):
            del sys.modules[name]


def exception_text(code: Any, namespace: dict[str, Any]) -> str:
    """The last line of the traceback that running the code ends in."""
    try:
        exec(code, namespace)
    except Exception as error:
        return f"{type(error).__module__}.{type(error).__qualname__}: {error}"
    raise AssertionError("nothing was raised")


def commands(block: Block) -> Iterator[str]:
    """The commands of a block of a shell, without `$ `; a line that ends with a backslash goes on."""
    for line in block.text.replace("\\\n", " ").splitlines():
        if line.strip() and not line.startswith("#"):
            assert line.startswith("$ "), f"{block}: a command begins with '$ ': {line}"
            yield line.removeprefix("$ ")


def assert_printed(block: Block, output: str) -> None:
    """Each line of a block stands in the output, whatever the spaces; `…` stands for anything."""
    whole, lines = plain(output), [plain(line) for line in output.splitlines()]
    for promised in map(plain, block.text.splitlines()):
        pattern = ".*".join(map(re.escape, promised.split("…")))
        is_there = promised in whole or any(re.search(pattern, line) for line in lines)
        assert is_there, f"{block} promises\n{promised}\nprinted is\n{output}"


def plain(text: str) -> str:
    return re.sub(r"\s+", " ", text).strip()


def check_toml(block: Block) -> None:
    """A part of a TOML file: tables and keys that there are, with values that they may have."""
    from jsonschema import Draft7Validator

    from chop.actions.config_schema import config_schema

    content = tomllib.loads(block.text)
    if "project" not in content or not isinstance(content["project"], dict):  # else it is a pyproject.toml
        errors = [error.message for error in Draft7Validator(optional(config_schema())).iter_errors(content)]
        assert not errors, f"{block}: {errors}"


def optional(schema: Any) -> Any:
    """A schema in which no key is required."""
    if isinstance(schema, dict):
        return {key: optional(value) for key, value in schema.items() if key != "required" or isinstance(value, dict)}
    return [optional(value) for value in schema] if isinstance(schema, list) else schema


def check_json(block: Block) -> None:
    json.loads(block.text)


CHECKED: dict[str, Callable[[Block], None]] = {"toml": check_toml, "json": check_json, "text": lambda block: None}
"""What is done with a block that is not run."""


@dataclass(frozen=True)
class Short:
    """The short form of a page whose commands take minutes; `-m slow` runs the page as it stands."""

    replaces: dict[str, str] = field(default_factory=dict)
    """In commands and Python; each text must stand in the page."""

    files: dict[str, tuple[str, dict[str, str]]] = field(default_factory=dict)
    """Files that are written before: a copy of a file of the repository, with other values."""

    def replaced(self, own: list[Block]) -> list[Block]:
        for old, new in self.replaces.items():
            assert any(old in block.text for block in own), f"'{old}' is not in the page: mend its short form"
            own = [replace(block, text=block.text.replace(old, new)) for block in own]
        return own

    def write_files(self, folder: Path) -> None:
        for name, (source, values) in self.files.items():
            text = (ROOT / source).read_text(encoding="utf-8")
            for old, new in values.items():
                assert old in text, f"'{old}' is not in {source}: mend the short form"
                text = text.replace(old, new)
            (folder / name).write_text(text, encoding="utf-8")
