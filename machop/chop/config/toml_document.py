"""Parses a TOML file and remembers the line of each key."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from chop.config.typed import KeyPath
from chop.errors import ConfigError
from chop.tools.file_kinds import TOML, wrong_kind

_HEADER = re.compile(r"^\s*\[(\[)?(?P<key>.+?)\](?(1)\])\s*(#.*)?$")
_PLACE = re.compile(r"[^:\n]*:(\d+):")
_POSITION = re.compile(r"\(at line (\d+), column (\d+)\)")


@dataclass(frozen=True)
class TomlDocument:
    """The values of a TOML file, and the line of each key or table header; `path` is where it was read from."""

    name: str
    data: dict[str, Any]
    lines: dict[KeyPath, int] = field(default_factory=dict)
    path: Path | None = None

    @classmethod
    def read(cls, path: Path) -> TomlDocument:
        """Read a file; raises ConfigError, with line and column, if it is missing or not TOML."""
        if problem := wrong_kind(path, (TOML,), "a TOML file", "`ch config examples` lists files to start from"):
            raise ConfigError([problem])
        try:
            text = path.read_bytes().decode("utf-8-sig")  # with or without a byte order mark
        except FileNotFoundError as error:
            raise ConfigError([f"{path}: there is no such file"]) from error
        except IsADirectoryError as error:
            raise ConfigError([f"{path}: is a folder; give the TOML file in it"]) from error
        except UnicodeDecodeError as error:
            raise ConfigError([f"{path}: is not UTF-8, as TOML must be ({error}); save it in that encoding"]) from error
        except OSError as error:
            raise ConfigError([f"{path}: cannot be read ({error})"]) from error
        if "\0" in text:
            raise ConfigError([f"{path}: holds NUL bytes, so it may be UTF-16; save it as UTF-8, as TOML must be"])
        return replace(cls.parse(text, path.name), path=path)

    @classmethod
    def parse(cls, text: str, name: str = "config.toml") -> TomlDocument:
        """The document in `text`; raises ConfigError that shows the wrong line with a caret.

        >>> document = TomlDocument.parse('seed = 1\\n[search.strategy]\\nname = "optuna"', "x.toml")
        >>> document.where(("search", "strategy", "name"))
        'x.toml:3'
        """
        text = text.replace("\r\n", "\n")
        try:
            data = tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            raise ConfigError([_syntax_problem(text, name, str(error))]) from error
        return cls(name, data, _key_lines(text))

    def where(self, path: KeyPath) -> str:
        """`file.toml:LINE` of a key, or of the nearest enclosing table with a line."""
        for length in range(len(path), 0, -1):
            if path[:length] in self.lines:
                return f"{self.name}:{self.lines[path[:length]]}"
        return self.name


def in_line_order(problems: Iterable[str]) -> list[str]:
    """Problems that begin with `file.toml:LINE:`, the first line first; all others before them.

    >>> in_line_order(["x.toml:12: a: wrong", "x.toml:3: b: wrong", "command line: --seed: wrong"])
    ['command line: --seed: wrong', 'x.toml:3: b: wrong', 'x.toml:12: a: wrong']
    """
    found = {problem: _PLACE.match(problem) for problem in problems}
    return sorted(found, key=lambda problem: int(place[1]) if (place := found[problem]) else 0)


def _syntax_problem(text: str, name: str, message: str) -> str:
    found = _POSITION.search(message)
    lines = text.rstrip("\n").split("\n")
    line, column = (int(found[1]), int(found[2])) if found else (len(lines), len(lines[-1]) + 1)
    shown = lines[line - 1] if line <= len(lines) else ""
    shown = "".join(character if character.isprintable() else "?" for character in shown.expandtabs(1))
    return f"{name}:{line}:{column}: {message.partition(' (at ')[0]}\n    {shown}\n    {' ' * (column - 1)}^"


def _key_lines(text: str) -> dict[KeyPath, int]:
    """The line of every key: statements are gathered line by line until TOML accepts them as whole."""
    lines: dict[KeyPath, int] = {}
    table: KeyPath = ()
    statement, first = "", 0
    for number, line in enumerate(text.split("\n"), start=1):
        header = None if statement else _HEADER.match(line)
        if header and (path := _paths(f"{header['key']} = 0")):
            table = path[-1]
            _note(lines, (), path, number)
            continue
        if not statement:
            first = number
        statement += line + "\n"
        paths = _paths(statement)
        if paths is not None:
            _note(lines, table, paths, first)
            statement = ""
    return lines


def _note(lines: dict[KeyPath, int], table: KeyPath, paths: list[KeyPath], number: int) -> None:
    for path in paths:
        lines.setdefault(table + path, number)


def _paths(statement: str) -> list[KeyPath] | None:
    """All key paths that a statement sets, parents first; None while it is not whole."""
    try:
        data = tomllib.loads(statement)
    except tomllib.TOMLDecodeError:
        return None
    return _walk(data, ())


def _walk(data: dict[str, Any], above: KeyPath) -> list[KeyPath]:
    paths: list[KeyPath] = []
    for key, value in data.items():
        paths.append((*above, key))
        if isinstance(value, dict):
            paths += _walk(value, (*above, key))
    return paths
