"""Locks a folder for one writing process; the lock ends with the process."""

from __future__ import annotations

import fcntl
import os
import socket
import stat
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from chop.errors import FolderError, WrongFolderError
from chop.tools.files import WRONG_PATHS, cure, require_in_place, sweep_unfinished
from chop.tools.option_names import option

_TRIES = 100
"""For a lock whose file, or folder, is removed just when it is taken."""

_held: set[int] = set()
"""Descriptors of the locks that this process holds."""


class OwnFolder:
    """A folder that this process alone writes to."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._descriptor: int | None = None

    def settle(self) -> None:
        """Make the folder where there is none. From now on it must stay where it is."""
        self.path.mkdir(parents=True, exist_ok=True)
        self.close()
        self._descriptor = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY)

    def require_in_place(self) -> None:
        """Raise FolderError where the folder was deleted, moved or replaced since `settle`."""
        if self._descriptor is not None:
            require_in_place(self.path, self._descriptor)

    def close(self) -> None:
        """Let the folder go."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


@contextmanager
def only_writer(folder: Path) -> Iterator[OwnFolder]:
    """Keep every other command, in this process too, from writing to `folder` until the end of the block.

    The lock is a file `.NAME.lock` beside the folder, so that the folder may be moved aside and made anew while it is
    held; the folder itself need not exist. What killed processes were writing in it is removed. Folders that are made
    on the way to it go again at the end of the block, where they are empty.

    Raises FolderError at once where the folder is in use or cannot be locked, and at the end of the block where it was
    deleted or moved in the meantime.
    """
    with ExitStack() as stack:
        stack.callback(_remove_empty, [path for path in Path(folder).parents if not path.exists()])
        for path in _lock_files(folder):
            stack.enter_context(_lock(path, folder))
        sweep_unfinished(folder)
        own = OwnFolder(folder)
        stack.callback(own.close)
        try:
            yield own
        except Exception:
            own.require_in_place()  # the cause of whatever went wrong
            raise
        own.require_in_place()


def in_use(folder: Path) -> bool:
    """Whether a command is writing to `folder` at the moment."""
    for path in _lock_files(folder):
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
        except OSError:
            continue
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            return True
        finally:
            os.close(descriptor)
    return False


def _remove_empty(folders: Iterable[Path]) -> None:
    """Remove folders, the inner ones first, up to one that holds something."""
    with suppress(OSError):
        for path in folders:
            path.rmdir()


def _lock_files(folder: Path) -> Iterable[Path]:
    """The lock beside a folder and, where that is a link, beside its target; all processes take them in one order."""
    absolute = Path(os.path.abspath(folder))  # noqa: PTH100 - `resolve` would follow the last link
    places = {absolute.parent.resolve() / absolute.name, absolute.resolve()}
    return [place.with_name(f".{place.name}.lock") for place in sorted(places)]


@contextmanager
def _lock(path: Path, folder: Path) -> Iterator[None]:
    descriptor = _locked(path, folder)
    _held.add(descriptor)
    try:
        yield
    finally:
        _held.discard(descriptor)
        with suppress(OSError):
            if _is_at(path, descriptor):
                path.unlink()
        os.close(descriptor)


def _locked(path: Path, folder: Path) -> int:
    """The descriptor of the lock; raises FolderError where it cannot be had."""
    missing: FileNotFoundError | None = None
    for _ in range(_TRIES):
        try:
            descriptor = _opened(path, folder)
        except FileNotFoundError as error:  # its folder was removed just now, or cannot be made at all
            missing = error
            continue
        except OSError as error:
            kind = WrongFolderError if isinstance(error, WRONG_PATHS) else FolderError
            raise kind(f"{error.filename}: {error.strerror}{cure(error)}") from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = _holder(descriptor)
            os.close(descriptor)
            raise _refusal(folder, holder, error) from error
        if _is_at(path, descriptor):
            _sign(descriptor)
            return descriptor
        os.close(descriptor)  # its last holder removed it between the two calls
    another = f"choose another {option('project-dir')}"
    if missing is not None:
        raise FolderError(f"{folder} cannot be made ({missing.strerror}): {another}") from missing
    raise FolderError(f"{folder} cannot be locked: {path} is removed again and again; {another}")


def _opened(path: Path, folder: Path) -> int:
    """The lock file, open: made where there is none; inside a folder beside which nothing can be written."""
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
    except PermissionError:
        if path.exists():  # another user's
            return os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
        if not os.access(folder, os.W_OK):
            raise
        return os.open(folder, os.O_RDONLY | os.O_DIRECTORY)


def _refusal(folder: Path, holder: str, error: OSError) -> FolderError:
    if isinstance(error, BlockingIOError):
        return FolderError(
            f"{folder} is in use: {holder} is writing there; wait for its end, or choose another {option('project')}"
        )
    return FolderError(
        f"{folder} cannot be locked against other commands: its file system has no locks ({error.strerror}); choose "
        f"another {option('project-dir')}, on a file system that has them"
    )


def _is_at(path: Path, descriptor: int) -> bool:
    """Whether an open file is still the one at `path`; a folder that was opened in its place stays."""
    own = os.fstat(descriptor)
    if stat.S_ISDIR(own.st_mode):
        return True
    try:
        return os.path.samestat(path.stat(), own)
    except FileNotFoundError:
        return False


def _sign(descriptor: int) -> None:
    """Write down who holds the lock, for the message of those that it keeps out."""
    with suppress(OSError):
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()} {socket.gethostname()}\n".encode(), 0)


def _holder(descriptor: int) -> str:
    try:
        pid, host = os.pread(descriptor, 300, 0).decode().split()
    except (OSError, ValueError):
        return "another command"
    return f"process {int(pid)}" if host == socket.gethostname() else f"process {pid} on {host}"


def _forget_in_child() -> None:
    """A forked process must not keep the locks of its parent when that dies."""
    for descriptor in _held:
        with suppress(OSError):
            os.close(descriptor)
    _held.clear()


os.register_at_fork(after_in_child=_forget_in_child)
