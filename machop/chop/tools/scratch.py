"""Temporary folders that are removed when their process ends, or by the next one after a kill."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

PREFIX = "chop-workers-"
_TRIES = 100


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """A temporary folder until the end of the block; those of processes that were killed are removed first.

    The process holds its folder with a lock, which ends with it.
    """
    sweep_scratch()
    folder, descriptor = _locked_folder()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(descriptor)


def sweep_scratch() -> None:
    """Remove this user's temporary folders that no process holds any more."""
    for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        with suppress(OSError):
            if folder.is_symlink() or folder.stat().st_uid != os.getuid():
                continue
            descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder, ignore_errors=True)
            finally:
                os.close(descriptor)


def _locked_folder() -> tuple[Path, int]:
    """A new folder, and the descriptor of the lock that says that its process is alive."""
    for _ in range(_TRIES):
        folder = Path(tempfile.mkdtemp(prefix=PREFIX))
        with suppress(FileNotFoundError):  # another process took it for one that nobody holds
            descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
            if _is_held(folder, descriptor):
                return folder, descriptor
            os.close(descriptor)
    raise FileNotFoundError(f"folders in {tempfile.gettempdir()} vanish as soon as they are made")


def _is_held(folder: Path, descriptor: int) -> bool:
    """Lock a folder; False where another process is removing it."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return True  # where there are no locks nobody can take it for one that nobody holds
    return folder.is_dir() and os.path.samestat(folder.stat(), os.fstat(descriptor))
