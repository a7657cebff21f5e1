"""Keeps what alkaid has solved: in memory, and in a folder by content."""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from chop.circuits.alkaid_trace import HARDWARE, SOLVER_OPTIONS
from chop.tools.files import write_whole
from chop.tools.logger import get_logger

logger = get_logger(__name__)
VERSION = 3
"""The version of the files; raise it when the logic that is solved changes."""


class Solved(NamedTuple):
    """What alkaid states of a piece of logic: LUTs, LUTs with fused adders, and the delay in its unit.

    `waiting` are the bits of all values times the delay from their making to their last use, results to the end;
    `bits` are those of the results.
    """

    luts: float
    fused: float
    depth: float
    waiting: float
    bits: float


def default_folder() -> Path:
    """The folder of solutions of this user: `$XDG_CACHE_HOME/chop/luts`, or `~/.cache/chop/luts`."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "chop" / "luts"


class Solutions:
    """Solutions by content; `folder` None keeps them in memory alone. Several processes may use one folder."""

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder
        self.solved = 0
        """Put here, and not found."""

        self._known: dict[str, Solved] = {}

    def get(self, content: Any, make: Callable[[], Solved]) -> Solved:
        """The solution of a content; solved where it is not known."""
        key = key_of(content)
        found = self.find(key)
        if found is None:
            found = make()
            self.put(key, found)
        return found

    def find(self, key: str) -> Solved | None:
        """The solution of a key, from memory or from the folder; None where there is none."""
        if key not in self._known and (kept := self._read(key)) is not None:
            self._known[key] = kept
        return self._known.get(key)

    def put(self, key: str, found: Solved) -> None:
        """Keep what was solved just now."""
        self._known[key] = found
        self.solved += 1
        if self.folder is not None:
            try:
                write_whole(self._path(key), json.dumps({"solution": found, "key": key}))
            except OSError as error:
                logger.warning("solutions are kept in memory alone: %s cannot be written (%s)", self.folder, error)
                self.folder = None

    def _read(self, key: str) -> Solved | None:
        """The solution of a file; None where there is none, or none that is sound."""
        if self.folder is None:
            return None
        try:
            found = json.loads(self._path(key).read_text(encoding="utf-8"))
            solved = Solved(*(float(own) for own in found["solution"]))
        except (OSError, ValueError, KeyError, TypeError):
            return None
        is_sound = found["key"] == key and all(math.isfinite(own) and own >= 0 for own in solved)
        return solved if is_sound else None

    def _path(self, key: str) -> Path:
        assert self.folder is not None
        version = metadata.version("alkaid")
        return self.folder / f"alkaid-{version}" / key[:2] / f"{key}.json"


def key_of(content: Any) -> str:
    """The key of a content: solved by another version, or with other options, it has another one."""
    return content_key([VERSION, HARDWARE, sorted(SOLVER_OPTIONS.items()), content])


def content_key(content: Any) -> str:
    """The SHA-256 of arrays, numbers and texts in lists.

    >>> content_key([1, np.arange(2)]) == content_key([1, np.arange(2)]) != content_key([1, np.arange(3)])
    True
    """
    found = hashlib.sha256()
    for part in _parts(content):
        found.update(part)
    return found.hexdigest()


def _parts(content: Any) -> Iterator[bytes]:
    if isinstance(content, np.ndarray):
        yield f"array {content.dtype} {content.shape}\0".encode()
        yield np.ascontiguousarray(content).tobytes()
    elif isinstance(content, (list, tuple)):
        yield f"list {len(content)}\0".encode()
        for own in content:
            yield from _parts(own)
    else:
        yield f"{type(content).__name__} {content!r}\0".encode()
