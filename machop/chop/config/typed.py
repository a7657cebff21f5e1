"""Reads a TOML table as a frozen dataclass, and finds every problem at once, with the path of its key."""

from __future__ import annotations

import json
import sys
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import MISSING, Field, dataclass, fields, replace
from functools import cache
from math import isfinite
from typing import Any, Self, TypeVar, get_type_hints

from chop.errors import did_you_mean

T = TypeVar("T")
KeyPath = tuple[str, ...]
"""The keys that lead to a value, from the outermost table on."""

MOST_SHOWN = 200
"""Characters of a wrong value that an error shows."""

LARGEST = 2**63 - 1
"""The largest whole number of TOML."""


@dataclass(frozen=True)
class Problem:
    """One problem of a configuration: the path of the key, and what is wrong.

    `beside` is the path of another key whose value it contradicts.
    """

    path: KeyPath
    message: str
    beside: KeyPath | None = None

    def below(self, *parents: str) -> Self:
        """The same problem, with a path that starts one table further up."""
        beside = None if self.beside is None else (*parents, *self.beside)
        return replace(self, path=(*parents, *self.path), beside=beside)


class UnknownKey(Problem):
    """The problem of a key that a table does not have."""


def parse_table(cls: type[T], table: Any, ignore: Iterable[str] = ()) -> tuple[T | None, list[Problem]]:
    """An instance of the dataclass `cls` from `table`, or None; and all problems.

    A field's metadata may hold `aliases`: other spellings of its key. Keys in `ignore` are left out.
    """
    if not isinstance(table, Mapping):
        return None, [Problem((), f"expected a table, got {shown(table)}")]
    spellings = _spellings(cls)
    values: dict[str, Any] = {}
    problems: list[Problem] = []
    for key, value in table.items():
        if key in spellings:
            problems += _set_value(cls, spellings[key], key, value, values)
        elif key not in ignore:
            problems.append(unknown_key(key, spellings))
    problems += [Problem((name,), "is missing") for name in _required(cls) if name not in values]
    return (None, problems) if problems else (cls(**values), [])


def value_problems(options: Any) -> list[str]:
    """The problems of the values of a dataclass that was made in Python, each `name: message`."""
    cls = type(options)
    hints = _hints(cls)  # type: ignore[arg-type]
    wrong = {field.name: check_value(hints[field.name], getattr(options, field.name)) for field in _fields(cls)}
    return [f"{name}: {message}" for name, message in wrong.items() if message]


def unknown_key(key: str, known: Iterable[str]) -> UnknownKey:
    """The problem of an unknown key, with the nearest known one."""
    known = sorted(known)
    hint = did_you_mean(key, known) or (f"; known: {', '.join(known)}" if known else "; none is known here")
    return UnknownKey((key,), f"unknown key{hint}")


def check_value(annotation: Any, value: Any) -> str | None:
    """The problem of `value` for a field of that type, or None.

    Numbers that are infinite or take more than 64 bits, and text with a NUL character, are wrong everywhere.
    """
    from pydantic import ValidationError

    if isinstance(value, str) and value.encode(errors="replace").decode() != value:
        return (
            f"expected text, got bytes that this locale ({sys.getfilesystemencoding()}) cannot read; set PYTHONUTF8=1"
        )
    try:
        _adapter(annotation).validate_python(value, strict=True)
    except ValidationError as error:
        first, *others = error.errors()
        if first["type"].startswith(("less_than", "greater_than")) and (wrong := _extreme(value)):
            return wrong
        is_of_choice = len(first["loc"]) == 1 and all(len(other["loc"]) == 1 for other in others)
        messages = [own["msg"] for own in (first, *(others if is_of_choice else ()))]
        wanted = " or ".join(text.removeprefix("Input should be ").removeprefix("Value error, ") for text in messages)
        wanted = wanted.replace("a valid dictionary", "a table").replace("String should have", "text with")
        cure = _as_list_of_one(annotation, value) if first["type"] == "list_type" else ""
        return f"expected {wanted}, got {shown(value)}{cure}"
    return _extreme(value)


def _as_list_of_one(annotation: Any, value: Any) -> str:
    """The advice to put a single value into a list, where such a list is right."""
    right = isinstance(value, str | int | float) and check_value(annotation, [value]) is None
    return f"; write [{json.dumps(value)}]" if right else ""


def shown(value: Any) -> str:
    """A wrong value as an error shows it, not longer than a line.

    >>> shown("a"), shown([{"name": "random"}])
    ("'a'", 'a list of tables: write [NAME] in place of [[NAME]]')
    """
    if isinstance(value, list) and value and all(isinstance(own, Mapping) for own in value):
        return "a list of tables: write [NAME] in place of [[NAME]]"
    text = repr(value)
    return text if len(text) <= MOST_SHOWN else f"{text[:MOST_SHOWN]}…"


def _extreme(value: Any) -> str | None:
    if isinstance(value, list):
        return next((wrong for part in value if (wrong := _extreme(part))), None)
    if isinstance(value, int) and abs(value) > LARGEST:
        return f"expected a whole number of at most {LARGEST} (64 bits), got {value}"
    if isinstance(value, float) and not isfinite(value):
        return f"expected a finite number, got {value}"
    if isinstance(value, str) and "\0" in value:
        return f"expected text without a NUL character, got {value!r}"
    return None


def _set_value(cls: type[Any], name: str, key: str, value: Any, values: dict[str, Any]) -> list[Problem]:
    if name in values:
        return [Problem((key,), f"is given twice ('{name}' is the same key)")]
    wrong = check_value(_hints(cls)[name], value)  # type: ignore[arg-type]
    values[name] = value
    return [Problem((key,), wrong)] if wrong else []


def _spellings(cls: type[Any]) -> dict[str, str]:
    names: dict[str, str] = {}
    for field in _fields(cls):
        names |= dict.fromkeys((field.name, *field.metadata.get("aliases", ())), field.name)
    return names


def _required(cls: type[Any]) -> list[str]:
    return [f.name for f in _fields(cls) if f.default is MISSING and f.default_factory is MISSING]


def _fields(cls: type[Any]) -> tuple[Field[Any], ...]:
    return tuple(field for field in fields(cls) if field.init)


@cache
def _hints(cls: Hashable) -> dict[str, Any]:
    return get_type_hints(cls, include_extras=True)


@cache
def _adapter(annotation: Any) -> Any:
    from pydantic import TypeAdapter

    return TypeAdapter(annotation)
