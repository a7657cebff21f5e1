"""Keeps what alkaid has solved: in memory, and in a folder by content."""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from chop.circuits.alkaid_trace import HARDWARE, SOLVER_OPTIONS
from chop.tools.files import write_whole
from chop.tools.logger import get_logger

logger = get_logger(__name__)
VERSION = 2
"""Of what a file means; raise it when the logic that is solved changes."""

Solved = tuple[float, float, float]


def default_folder() -> Path:
    """The folder of solutions of this user: `$XDG_CACHE_HOME/chop/luts`, or `~/.cache/chop/luts`."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "chop" / "luts"


class Solutions:
    """Solutions by content; `folder` None keeps them in memory alone. Several processes may use one folder."""

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder
        self.solved = 0
        """Solved in this process, and not found."""

        self._known: dict[str, Solved] = {}

    def get(self, content: Any, make: Callable[[], Solved]) -> Solved:
        """The solution of a content; solved where it is not known."""
        key = content_key([VERSION, HARDWARE, sorted(SOLVER_OPTIONS.items()), content])
        if key not in self._known:
            self._known[key] = self._read(key) or self._made(key, make)
        return self._known[key]

    def _made(self, key: str, make: Callable[[], Solved]) -> Solved:
        found = make()
        self.solved += 1
        if self.folder is not None:
            try:
                write_whole(self._path(key), json.dumps({"solution": found, "key": key}))
            except OSError as error:
                logger.warning("solutions are kept in memory alone: %s cannot be written (%s)", self.folder, error)
                self.folder = None
        return found

    def _read(self, key: str) -> Solved | None:
        """The solution of a file; None where there is none, or none that is sound."""
        if self.folder is None:
            return None
        try:
            found = json.loads(self._path(key).read_text(encoding="utf-8"))
            luts, fused, depth = (float(own) for own in found["solution"])
        except (OSError, ValueError, KeyError, TypeError):
            return None
        is_sound = found["key"] == key and all(math.isfinite(own) and own >= 0 for own in (luts, fused, depth))
        return (luts, fused, depth) if is_sound else None

    def _path(self, key: str) -> Path:
        assert self.folder is not None
        version = metadata.version("alkaid")
        return self.folder / f"alkaid-{version}" / key[:2] / f"{key}.json"


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
