"""TOML files whose first line is a comment with their checksum: it covers the values in order, not the layout."""

from __future__ import annotations

import hashlib
import json
import re
import tomllib
from pathlib import Path

from chop.errors import SearchError
from chop.record.damage import DAMAGES
from chop.record.missing_seal import require_no_seal_beside
from chop.record.names import SEALED_TOML
from chop.record.sealed_json import Sealed
from chop.record.version import VERSION, require_version, warn_unchecked

_SEAL = re.compile(rf"^\ufeff?{SEALED_TOML}(\d+), search (\w*), sha256 ([0-9a-f]{{64}})", re.MULTILINE)


def sealed_toml(text: str, search: str) -> str:
    """A TOML text behind the comment that seals it."""
    seal = f"{SEALED_TOML}{VERSION}, search {search}, sha256 {_checksum(text, search)}"
    return f"{seal}: change a copy of this file, not this one\n{text}"


def read_toml_seal(path: Path) -> Sealed:
    """The version and the search of a TOML file, and its text.

    Raises SearchError where its values are not those that were written, or where its version is a later one.
    """
    try:
        text = path.read_bytes().decode("utf-8-sig")
        found = _SEAL.search(text)
        version = require_version(int(found[1]) if found else 1, path)
        if found and (version == 1 or _checksum(text, found[2]) != found[3]):
            raise ValueError("its checksum does not fit")
    except DAMAGES as error:
        raise SearchError(
            f"{path} was changed after the search wrote it ({error}): undo that, or give a file with --config"
        ) from error
    if version == 1:
        require_no_seal_beside(path)
        warn_unchecked(path.parent)
    return Sealed(text, version, found[2] if found else "")


def _checksum(text: str, search: str) -> str:
    values = json.dumps(tomllib.loads(text), default=str)
    return hashlib.sha256(f"toml {VERSION} {search}\n{values}".encode()).hexdigest()
