"""Raises an error for a record that has no checksum while files beside it have one: it was edited or replaced."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from chop.errors import SearchError
from chop.record.damage import DAMAGES
from chop.record.names import (
    ALL_ROWS_FILE,
    BEST_FILE,
    BLOCKS,
    BLOCKS_FILE,
    CONFIG_FILE,
    INITIAL_FILE,
    LANDSCAPE_FILE,
    MEASURED_FILE,
    SUMMARY_FILE,
    TRIALS,
    TRIALS_FILE,
)
from chop.record.sealed_parquet import has_seal

LOGS = {TRIALS_FILE: TRIALS, BLOCKS_FILE: BLOCKS, MEASURED_FILE: TRIALS}


def require_no_seal_beside(path: Path) -> None:
    """Raise SearchError if a file beside the unsealed record `path` holds a checksum.

    A log gets its checksums before any other file of its search. Where the log beside `path` says that its search began
    without them, a file may be older than they are.
    """
    folder = path.parent
    if any(_began_unsealed(folder / file) for file in LOGS):
        return
    for file, is_sealed in _READERS.items():
        if file != path.name and _holds(folder / file, is_sealed):
            raise SearchError(
                f"{path} has no checksum, and {file} beside it has: it was changed or replaced; take the file that was "
                "written there, or start anew"
            )


def _holds(path: Path, is_sealed: Callable[[Path], bool]) -> bool:
    with suppress(OSError, *DAMAGES):  # what is wrong with that file is said when it is read
        return path.is_file() and is_sealed(path)
    return False


def _is_sealed_json(path: Path) -> bool:
    data = json.loads(path.read_bytes())
    return any("version" in row for row in (data, *data.values()) if isinstance(row, dict))


def _is_sealed_toml(path: Path) -> bool:
    return re.search(rb"^# chop record \d+", path.read_bytes(), re.MULTILINE) is not None


def _is_sealed_log(path: Path) -> bool:
    return int(_header(path).get(LOGS[path.name].key, 1)) > 1


def _began_unsealed(path: Path) -> bool:
    return _holds(path, lambda log: _header(log).get("from_version") == 1)


def _header(path: Path) -> dict[str, Any]:
    with path.open("rb") as stream:
        return dict(json.loads(stream.readline()))


_READERS: dict[str, Callable[[Path], bool]] = {
    **dict.fromkeys(LOGS, _is_sealed_log),
    **dict.fromkeys((ALL_ROWS_FILE, BEST_FILE, SUMMARY_FILE, INITIAL_FILE), _is_sealed_json),
    CONFIG_FILE: _is_sealed_toml,
    LANDSCAPE_FILE: has_seal,
}
