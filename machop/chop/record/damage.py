"""The exceptions that reading a damaged record may raise, and a copy of the damaged file."""

from __future__ import annotations

from itertools import count
from pathlib import Path

from chop.tools.files import write_whole
from chop.tools.logger import get_logger

logger = get_logger(__name__)

DAMAGES = (ValueError, KeyError, TypeError, AttributeError, RecursionError, OverflowError)
"""Exceptions that reading a damaged record may raise."""


def keep_damaged(path: Path) -> None:
    """Copy a log that is damaged or not usable to a new file beside it, so that nothing is lost."""
    names = (f"{path.name}.damaged{'' if number == 0 else f'-{number}'}" for number in count())
    copy = next(path.with_name(name) for name in names if not path.with_name(name).exists())
    write_whole(copy, path.read_bytes())
    logger.warning("the whole file is kept as %s", copy)
