"""The folder of a new search, comparison or training: an earlier one is moved aside, or back if the new leaves none."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from chop.tools.folder_lock import OwnFolder
from chop.tools.logger import get_logger
from chop.tools.own_files import OwnFiles

logger = get_logger(__name__)


class OwnPlace:
    """The folder of a new search, comparison or training, in which files of others stay.

    `goes_on` is asked before the run: whether it goes on with the earlier one, which is not moved then. `on_move` is
    called with each new path of the earlier one. Raises FolderError for a folder where it would write over files of
    others.
    """

    def __init__(
        self,
        own: OwnFolder,
        files: OwnFiles,
        goes_on: Callable[[], bool] = lambda: False,
        on_move: Callable[[Path], None] = lambda path: None,
    ) -> None:
        files.require_own(own.path)
        self._own = own
        self._files = files
        self._goes_on = goes_on
        self._on_move = on_move
        self._earlier: Path | None = None
        self.is_taken = False

    def take(self) -> None:
        """Move an earlier one aside, and settle in its folder."""
        if not self._goes_on():
            self._earlier = self._files.move_aside(self._own.path)
        self.is_taken = True
        if self._earlier is not None:
            logger.info("the earlier %s is kept in %s", self._files.kind, self._earlier)
            self._on_move(self._earlier)
        self._own.settle()

    def give_back(self) -> None:
        """Where nothing of the new one is left, remove its folder if it is empty, and move the earlier one back."""
        if not self.is_taken or self._files.found(self._own.path):
            return
        self.is_taken = False
        self._own.close()
        with suppress(OSError):  # it holds files of others, or is gone
            self._own.path.rmdir()
        if self._earlier is not None and self._files.move_back(self._earlier, self._own.path):
            logger.info("the earlier %s is back in %s", self._files.kind, self._own.path)
            self._on_move(self._own.path)
