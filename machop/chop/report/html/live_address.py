"""Finds the server that serves the page of a search already, by a file beside the folder that the server holds."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from chop.record.names import search_folder


def served_at(run: Path) -> str:
    """The address at which a process on this machine serves the page of the search in `run`; empty where none does."""
    try:
        descriptor = os.open(_file(run), os.O_RDONLY | os.O_NOFOLLOW)
    except OSError:
        return ""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return os.pread(descriptor, 300, 0).decode()
    finally:
        os.close(descriptor)
    return ""


@contextmanager
def announced(run: Path, address: str) -> Iterator[None]:
    """Let `served_at` find `address` until the end of the block; its file, which only the user reads, has the token.

    Where nothing can be written, nobody finds it.
    """
    path = _file(run)
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    except OSError:
        yield
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, address.encode(), 0)
        yield
        with suppress(OSError):
            path.unlink()
    finally:
        os.close(descriptor)


def _file(run: Path) -> Path:
    folder = search_folder(run).resolve()
    return folder.with_name(f".{folder.name}.live")
