"""JSON files that hold their own checksum, which covers the values in order, not the layout."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from chop.errors import SearchError
from chop.record.damage import DAMAGES
from chop.record.missing_seal import require_no_seal_beside
from chop.record.version import VERSION, require_version, warn_unchecked

RESUME = "let the search write it again with --resume"
"""The cure for a damaged file that can be made again from the log."""

SEAL = ("version", "search", "sha256")
"""The keys that a sealed document, or each row of sealed rows, has besides its own."""

_NUMBERS = re.compile(r"\[\n(?: +(?:-?[\d.e+-]+|null|NaN|-?Infinity),?\n)+ +\]")
"""A list of numbers, a line each."""


@dataclass(frozen=True)
class Sealed:
    """The content of a file without its seal; `version` 1 had no seal, `search` is the identity of its search."""

    content: Any
    version: int
    search: str


def sealed(document: Mapping[str, Any], kind: str, search: str) -> dict[str, Any]:
    """A document with its seal; `kind` is the name of the file."""
    return {**document, **_seal([json.dumps(document)], kind, search)}


def sealed_rows(rows: Sequence[Mapping[str, Any]], kind: str, search: str) -> list[str]:
    """Rows as lines of JSON, each with the seal of all: none can be changed, added or removed unnoticed."""
    texts = [json.dumps(row) for row in rows]
    seal = json.dumps(_seal(texts, kind, search))[1:]
    return [f"{text[:-1]}, {seal}" for text in texts]


def indented(document: Mapping[str, Any]) -> str:
    """JSON with an indent, but with lists of numbers on one line.

    >>> print(indented({"low": [0.5, None, 1e-07]}), end="")
    {
      "low": [0.5, null, 1e-07]
    }
    """
    return _NUMBERS.sub(_on_one_line, json.dumps(document, indent=2)) + "\n"


def _on_one_line(found: re.Match[str]) -> str:
    return "[" + ", ".join(line.strip().removesuffix(",") for line in found[0].splitlines()[1:-1]) + "]"


def read_document(path: Path, cure: str = RESUME) -> Sealed:
    """A document. Raises SearchError, with the `cure`, if it is damaged or of a later version."""
    return _read(path, _opened_document, cure)


def read_rows(path: Path, *kinds: str) -> Sealed:
    """The rows of a file `{"0": row, "1": row …}` of one of some kinds, as a list.

    Raises SearchError as `read_document` does, and FileNotFoundError where there is no file.
    """
    return _read(path, lambda data, _: _opened_rows(data, kinds), RESUME)


def _read(path: Path, opened: Callable[[Any, Path], Sealed], cure: str) -> Sealed:
    try:
        found = opened(json.loads(path.read_bytes()), path)
    except FileNotFoundError:
        raise
    except DAMAGES as error:
        raise SearchError(f"{path} is damaged ({error}); {cure}") from error
    require_version(found.version, path)
    if found.version == 1:
        require_no_seal_beside(path)
        warn_unchecked(path.parent)
    return found


def _opened_document(data: Any, path: Path) -> Sealed:
    return _opened([dict(data)], (path.name,), lambda rows: rows[0])


def _opened_rows(data: Any, kinds: Sequence[str]) -> Sealed:
    if list(data) != [str(number) for number in range(len(data))]:
        raise ValueError("its rows are not numbered in order")
    return _opened([dict(row) for row in data.values()], kinds, lambda rows: rows)


def _opened(rows: list[dict[str, Any]], kinds: Sequence[str], unwrap: Callable[[list[dict[str, Any]]], Any]) -> Sealed:
    seals = [{key: row.pop(key) for key in SEAL if key in row} for row in rows]
    first = seals[0] if seals else {}
    if not any(seals):
        return Sealed(unwrap(rows), 1, "")
    version = first.get("version")
    if not (isinstance(version, int) and version > VERSION):  # how a later one is sealed is not known
        texts = [json.dumps(row) for row in rows]
        right = [_seal(texts, kind, first.get("search", "")) for kind in kinds]
        if first not in right or any(seal != first for seal in seals):
            raise ValueError("its checksum does not fit: it was changed after it was written")
    return Sealed(unwrap(rows), version or 0, first.get("search", ""))


def _seal(texts: Iterable[str], kind: str, search: str) -> dict[str, Any]:
    digest = hashlib.sha256(f"{kind} {VERSION} {search}\n".encode())
    for text in texts:
        digest.update(text.encode() + b"\n")
    return {"version": VERSION, "search": search, "sha256": digest.hexdigest()}
