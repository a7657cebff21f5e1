"""The reader of a search's folder: each file is checked by itself, and against the log of the search."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Any

from chop.errors import SearchError
from chop.record.json_lines import Header, read_header
from chop.record.names import BEST_FILE, BLOCKS, BLOCKS_FILE, CONFIG_FILE, LOG_FILE, TRIALS, TRIALS_FILE
from chop.record.sealed_json import Sealed, read_document, read_rows
from chop.record.sealed_toml import read_toml_seal

ROW_FILES = (LOG_FILE, BEST_FILE)
KINDS = {TRIALS_FILE: TRIALS, BLOCKS_FILE: BLOCKS}


class SearchFolder:
    """What a search left in the folder `path`."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @cached_property
    def log(self) -> Path | None:
        """The log of the search, of its trials or of its blocks; None where there is none."""
        return next((self.path / file for file in KINDS if (self.path / file).is_file()), None)

    @cached_property
    def header(self) -> Header:
        """The header of the log. Raises SearchError where there is no log, or where the header is damaged."""
        if self.log is None:
            raise SearchError(f"{self.path}: no search there; give the folder search_ckpts of one, with its log")
        return read_header(self.log, KINDS[self.log.name])

    @property
    def fingerprint(self) -> dict[str, Any]:
        """What the search must find unchanged when it is resumed. Raises SearchError as `header` does."""
        found = self.header.values.get("fingerprint")
        if not isinstance(found, dict):
            raise SearchError(f"{self.log} is no log of a search, or its first line is damaged")
        return found

    def rows(self, file: str = LOG_FILE) -> list[dict[str, Any]]:
        """The rows of `log.json`, `best.json` or a copy of one of them.

        Raises SearchError where there is no such file, where it is damaged, or where it belongs to another search.
        """
        path = self.path / file
        kinds = (file,) if file in ROW_FILES else ROW_FILES
        try:
            found = read_rows(path, *kinds)
        except FileNotFoundError as error:
            raise SearchError(f"{path} does not exist; give the folder search_ckpts of a finished search") from error
        rows: list[dict[str, Any]] = self._of_this_search(path, found).content
        return rows

    def document(self, file: str) -> dict[str, Any] | None:
        """A JSON file of the search, None where there is none. Raises SearchError as `rows` does."""
        path = self.path / file
        if not path.exists():
            return None
        found: dict[str, Any] = self._of_this_search(path, read_document(path)).content
        return found

    def config(self) -> Path:
        """The file with the options that the search ran with, checked where it exists. Raises SearchError as above."""
        path = self.path / CONFIG_FILE
        if path.exists():
            self._of_this_search(path, read_toml_seal(path))
        return path

    def _of_this_search(self, path: Path, found: Sealed) -> Sealed:
        self.require_own(path, found.version, found.search)
        return found

    def require_own(self, path: Path, version: int, search: str) -> None:
        """Raise SearchError where a file is not of the search that the log is of, or has lost its checksum."""
        if self.log is None or "fingerprint" not in self.header.values:
            return  # alone, or of a comparison
        header = self.header
        if version == 1 and 1 in (header.version, header.values.get("from_version")):
            return
        if version == 1:
            raise SearchError(f"{path} has no checksum, and {self.log.name} beside it has: it was changed or replaced")
        if search != header.identity:
            raise SearchError(
                f"{path} belongs to another search than {self.log.name} beside it: the folder is a mixed copy"
            )
