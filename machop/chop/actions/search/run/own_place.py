"""The folder of a new search, comparison or training: an earlier one is moved aside, or back if the new leaves none."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from chop.tools.files import move_aside, move_back
from chop.tools.folder_lock import OwnFolder
from chop.tools.logger import get_logger

logger = get_logger(__name__)


class OwnPlace:
    """The folder of a new search, comparison or training; `kind` is its name in messages, "search" say.

    `is_earlier` is asked before the run: whether the folder holds an earlier one, to be moved aside. `holds_own` is
    asked after it: whether the new one has left anything there. `on_move` is called with each new path of the earlier
    one. `patterns` are the names of its files, where the folder may hold others: those stay; None moves the folder.
    """

    def __init__(
        self,
        own: OwnFolder,
        kind: str,
        is_earlier: Callable[[], bool],
        holds_own: Callable[[], bool],
        on_move: Callable[[Path], None] = lambda path: None,
        patterns: Sequence[str] | None = None,
    ) -> None:
        self._own = own
        self._kind = kind
        self._is_earlier = is_earlier
        self._holds_own = holds_own
        self._on_move = on_move
        self._patterns = patterns
        self._earlier: Path | None = None
        self.is_taken = False

    def take(self) -> None:
        """Move an earlier one aside, and settle in its folder."""
        if self._is_earlier():
            self._earlier = move_aside(self._own.path, self._patterns)
        self.is_taken = True
        if self._earlier is not None:
            logger.info("the earlier %s is kept in %s", self._kind, self._earlier)
            self._on_move(self._earlier)
        self._own.settle()

    def give_back(self) -> None:
        """Where nothing of the new one is left, remove its folder if it is empty, and move the earlier one back."""
        if not self.is_taken or self._holds_own():
            return
        self.is_taken = False
        self._own.close()
        with suppress(OSError):  # it holds files of others, or is gone
            self._own.path.rmdir()
        if self._earlier is not None and move_back(self._earlier, self._own.path, self._patterns):
            logger.info("the earlier %s is back in %s", self._kind, self._own.path)
            self._on_move(self._own.path)
