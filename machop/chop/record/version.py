"""The version that every record states, and the random number that all files of one search share."""

from __future__ import annotations

import secrets
from functools import cache
from pathlib import Path
from typing import Any

from chop.errors import SearchError
from chop.tools.logger import get_logger

logger = get_logger(__name__)

VERSION = 2
"""Version 1 had no checksums. It is read; what is written has version 2."""


def new_identity() -> str:
    """A random identity for a search: all its files hold it, so that mixed copies are noticed."""
    return secrets.token_hex(8)


@cache
def warn_unchecked(what: Path) -> None:
    """Warn once that changes in a file or folder of version 1 cannot be detected."""
    logger.warning("%s was written by an earlier chop, without checksums: it cannot be checked", what)


def require_version(found: Any, path: Path) -> int:
    """The version that a record states. Raises SearchError for a later or invalid one."""
    if isinstance(found, bool) or not isinstance(found, int) or found < 1:
        raise SearchError(f"{path} is damaged: {found!r} is no version of a record")
    if found > VERSION:
        raise SearchError(
            f"{path} was written by a later chop, version {found}; this one reads up to {VERSION}: update chop"
        )
    return found
