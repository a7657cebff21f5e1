"""Writes files and folders atomically: whole, or not at all."""

from __future__ import annotations

import errno
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from secrets import token_hex
from tempfile import TemporaryDirectory

from chop.errors import ChopError, FolderError, InputError, WrongFolderError
from chop.tools.option_names import option, options_named

UNFINISHED = ".writing"
"""Ending of a file that is being written, until it takes its own name."""

_LONGEST_NAME = 200
WRONG_PATHS = (FileExistsError, IsADirectoryError, NotADirectoryError)
"""Errors of a path that leads to a file in place of a folder, or to a folder in place of a file."""

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def write_whole(path: Path | str, data: str | bytes) -> Path:
    """Write `data` to `path` so that a reader, or a crash, meets the old file or the new one, never a half.

    Missing folders are made. Raises OSError, with the name of the file.
    """
    path = Path(path)
    with written_whole(path) as temporary:
        temporary.write_bytes(data.encode(errors="surrogateescape") if isinstance(data, str) else data)
    return path


def copied_folder(source: Path, target: Path) -> Path:
    """Copy a folder, so that a reader, or a crash, meets the whole copy or none.

    Raises FolderError where `target` exists or cannot be written.
    """
    if target.exists():
        raise WrongFolderError(f"folder: {target} exists already: choose another")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(prefix=f".{target.name[:_LONGEST_NAME]}.", dir=target.parent) as beside:
            return Path(shutil.copytree(source, Path(beside) / "copy")).rename(target)
    except OSError as error:
        raise FolderError(f"folder: {target} cannot be written ({error.strerror or error}): choose another") from error


@contextmanager
def written_whole(path: Path | str, to_disk: bool = True) -> Iterator[Path]:
    """Yield the path of an empty file beside `path`, which takes its name and place at the end of the block.

    After an error, or a crash, `path` is what it was. A link is followed. An existing file keeps its permissions, a new
    one has those that the user's umask allows. Without `to_disk` a loss of power may cost the content, for files whose
    readers check it. Raises OSError, with the name of `path`.
    """
    target = Path(os.path.realpath(path))
    with _naming(Path(path)):
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = _new_file_beside(target)
    try:
        with _naming(Path(path)):
            yield temporary
            if to_disk:
                _to_disk(temporary)
            if target.exists():
                shutil.copymode(target, temporary)
            temporary.replace(target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def sweep_unfinished(folder: Path) -> None:
    """Remove what killed processes were writing in `folder` or in a folder of it.

    No other process may be writing to `folder` at the time.
    """
    for file in (*folder.glob(f".*{UNFINISHED}"), *folder.glob(f"*/.*{UNFINISHED}")):
        pid = file.name.removesuffix(UNFINISHED).rpartition(".")[2].partition("-")[0]
        if pid.isdecimal() and not _is_running(int(pid)):
            with suppress(OSError):
                file.unlink()


def require_in_place(path: Path, descriptor: int) -> None:
    """Raise FolderError where the file or folder open as `descriptor` is no longer the one that `path` leads to."""
    with suppress(OSError):
        if os.path.samestat(path.stat(), os.fstat(descriptor)):
            return
    moved_to = _path_of(descriptor)
    if moved_to is None:
        raise FolderError(f"{path} was deleted while this command was writing there: start anew, and let it stay")
    raise FolderError(
        f"{path} was moved to {moved_to} while this command was writing there: what it had written is in that place; "
        "move it back, and go on with --resume"
    )


@contextmanager
def place_given_by(name: str) -> Iterator[None]:
    """Let errors of what is written within name the option `name` as the one that says where."""
    with options_named(lambda other: f"--{name if other in ('project-dir', 'project') else other}"):
        try:
            yield
        except OSError as error:
            raise told(error) from error


def told(error: OSError) -> ChopError:
    """The error of a file or folder that could not be read or written: with its name, and the cure if it is known."""
    kind = InputError if isinstance(error, WRONG_PATHS) else ChopError
    return kind(f"{error.filename or 'input or output'}: {error.strerror or error}{cure(error)}")


def cure(error: OSError) -> str:
    """The cure for a file that could not be read or written, after a semicolon; empty if unknown."""
    if isinstance(error, NotADirectoryError | FileExistsError):
        return f"; a file is where a folder must be: choose another {option('project-dir', 'project')}"
    if isinstance(error, PermissionError) and _may_not_be_read(error.filename):
        return "; ask its owner for the right to read it, or give another file"
    if isinstance(error, PermissionError) or error.errno == errno.EROFS:
        return f"; choose another {option('project-dir')}, which you may write to"
    return f"; make room, or choose another {option('project-dir')}" if error.errno in _NO_ROOM else ""


def _may_not_be_read(path: str | None) -> bool:
    return path is not None and Path(path).is_file() and not os.access(path, os.R_OK)


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Let an OSError say the name of `path`, whatever file or none it was raised for."""
    try:
        yield
    except OSError as error:
        if error.errno is None:
            raise
        raise OSError(error.errno, os.strerror(error.errno), str(path)) from error


def _new_file_beside(target: Path) -> Path:
    name = f".{target.name[:_LONGEST_NAME]}.{os.getpid()}-{token_hex(4)}{UNFINISHED}"
    temporary = target.with_name(name)
    os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
    return temporary


def _to_disk(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def _path_of(descriptor: int) -> Path | None:
    """Where an open file or folder lies by now; None where it was deleted, or the system does not say."""
    if os.fstat(descriptor).st_nlink == 0 or not sys.platform.startswith("linux"):
        return None
    path = Path(f"/proc/self/fd/{descriptor}").readlink()
    return path if path.exists() else None
