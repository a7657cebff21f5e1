"""Tells the files of a training, search or comparison from whatever else lies in its folder, and moves them alone."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from chop.errors import WrongFolderError
from chop.tools.option_names import option


@dataclass(frozen=True)
class OwnFiles:
    """The files that runs of one kind write; `kind` is its name in messages, "search" say.

    `patterns` are those of their names. They are moved in this order, so the files by which a run is known come last.
    `is_known` says of a file with such a name whether only a run of this kind can have written it.
    """

    kind: str
    patterns: tuple[str, ...]
    is_known: Callable[[Path], bool]

    def found(self, folder: Path) -> list[Path]:
        """The files in a folder that have such names, in the order of the patterns."""
        return list(dict.fromkeys(entry for pattern in self.patterns for entry in sorted(folder.glob(pattern))))

    def require_own(self, folder: Path) -> None:
        """Raise FolderError where files in a folder have such names and none of them is known to be of such a run.

        They would be written over.
        """
        found = self.found(folder)
        if found and not any(map(self.is_known, found)):
            raise WrongFolderError(
                f"folder: {found[-1]} is no part of a {self.kind} that could go on, and a {self.kind} would write a "
                f"file of this name: move it, or choose another {option('project-dir', 'project')}"
            )

    def move_aside(self, folder: Path) -> Path | None:
        """Move the files to the next free number, `folder-1` …; returns its path, None where there are none.

        Whatever else lies in the folder stays. If there is nothing else, and this process does not work in the folder,
        it is renamed, in one step.
        """
        entries = self.found(folder)
        if not entries:
            return None
        is_whole = set(entries) == set(folder.iterdir()) and not _works_in(folder)
        if not is_whole and (folder.is_symlink() or folder.name in ("", "..")):
            folder = folder.resolve()  # beside a link may be another disk
        for number in count(1):
            target = folder.with_name(f"{folder.name}-{number}")
            if os.path.lexists(target):
                continue
            try:
                if is_whole:
                    return folder.rename(target)
                target.mkdir()
            except OSError as error:  # taken since
                if error.errno not in (errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR):
                    raise
                continue
            _move(entries, target)
            return target
        raise AssertionError("numbers do not end")

    def move_back(self, aside: Path, folder: Path) -> bool:
        """Undo `move_aside`; False, and nothing is moved, where files with such names are in the folder again."""
        if self.found(folder):
            return False
        entries = self.found(aside)
        if not folder.exists() and set(entries) == set(aside.iterdir()):
            aside.rename(folder)
            return True
        folder.mkdir(parents=True, exist_ok=True)
        _move(entries[::-1], folder)
        with suppress(OSError):  # it holds files of others
            aside.rmdir()
        return True

    def remove(self, folder: Path) -> None:
        """Remove the files; whatever else lies in the folder stays."""
        for entry in self.found(folder):
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry)
            else:
                entry.unlink()


def _move(entries: Collection[Path], target: Path) -> None:
    for entry in entries:
        entry.rename(target / entry.name)


def _works_in(folder: Path) -> bool:
    """Whether the working folder of this process is a folder or lies in it."""
    try:
        return Path.cwd().is_relative_to(folder.resolve())
    except FileNotFoundError:  # it was deleted
        return False
