"""Every target of make, command and option that a page names exists, also where no test runs it."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from functools import cache
from typing import Any

import pytest
import typer

from chop.cli.main import app
from tests.docs.pages import FENCE, PAGES, ROOT, SHELL, blocks

SPAN = re.compile(r"(?<!`)`([^`]+)`(?!`)")
MAKE = re.compile(r"(?:^|[\s;&|])make ([a-z][a-z-]*)(?![\w.])")
CH = re.compile(r"^(?:\S*/)?ch(?=\s|$)(.*)", re.DOTALL)
OTHERS = {"--help", "--install-completion", "--show-completion"}
"""Options that every command has, or that typer adds."""


@cache
def targets() -> set[str]:
    return set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))


@cache
def commands() -> dict[tuple[str, ...], set[str]]:
    """The options of each command; of `ch` itself those that come before an action."""
    found: dict[tuple[str, ...], set[str]] = {}

    def visit(command: Any, path: tuple[str, ...]) -> None:
        found[path] = {name for option in command.params for name in [*option.opts, *option.secondary_opts]} | OTHERS
        for name, own in getattr(command, "commands", {}).items():
            visit(own, (*path, name))

    visit(typer.main.get_command(app), ())
    return found


def unknown_targets(text: str) -> list[str]:
    """What a line of a shell asks of make that there is not."""
    return [f"make {name}" for name in MAKE.findall(text) if name not in targets()]


def unknown_options(text: str) -> list[str]:
    """What a call of `ch` names that there is not: an action, or an option of it."""
    words = words_of(text)
    path: tuple[str, ...] = ()
    while words and (*path, words[0]) in commands():
        path = (*path, words.pop(0))
    if not path and words and re.fullmatch(r"[a-z][a-z-]+", words[0]):
        return [f"ch {words[0]}"]
    given = [word.partition("=")[0] for word in words if word.startswith("--")]
    return [f"ch {' '.join([*path, name])}" for name in given if name not in commands()[path]]


def words_of(text: str) -> list[str]:
    try:
        return shlex.split(text)
    except ValueError:  # a quote within a sentence
        return text.split()


def unknown(text: str) -> list[str]:
    """What an inline code or a line of a shell names that there is not."""
    call = CH.match(text.strip())
    if call is not None:
        return unknown_options(call[1])
    if text.startswith("--") and (name := re.split(r"[ =]", text)[0]) not in set().union(*commands().values()):
        return [name]
    return unknown_targets(text)


def shell_lines(page: str) -> Iterator[str]:
    """The commands of all blocks of a shell, run or not."""
    for block in blocks(page):
        if block.language in SHELL:
            for line in block.text.replace("\\\n", " ").splitlines():
                yield line.removeprefix("$ ")


def spans(page: str) -> Iterator[str]:
    """The inline code of a page."""
    for found in SPAN.finditer(FENCE.sub("", PAGES[page].read_text(encoding="utf-8"))):
        yield " ".join(found[1].split())


@pytest.mark.parametrize("page", sorted(PAGES))
def test_a_page_names_only_commands_targets_and_options_that_exist(page: str) -> None:
    problems = [f"`{text}`: no {name}" for text in (*shell_lines(page), *spans(page)) for name in unknown(text)]
    assert not problems, "\n".join(problems)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("make pixtures", "make pixtures"),
        ("ch export-optuna FOLDER --storrage sqlite:///s.db", "ch export-optuna --storrage"),
        ("machop/ch searchh --config FILE.toml", "ch searchh"),
        ("machop/ch search --configg FILE.toml", "ch search --configg"),
        ("--load-wheights NAME", "--load-wheights"),
    ],
)
def test_a_name_that_is_mistyped_is_found(text: str, name: str) -> None:
    assert unknown(text) == [name]


def test_names_that_exist_are_not_found_wrong() -> None:
    for text in ("make bench-training PART=space", "ch config new jsc-s --output my.toml", "ch --version", "ch ACTION"):
        assert unknown(text) == []
