"""The reader of a search's folder: each file is checked by itself, and against the log of the search."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

from chop.errors import SearchError
from chop.record.json_lines import Header, read_header
from chop.record.names import BLOCKS, BLOCKS_FILE, TRIALS, TRIALS_FILE

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
        header = read_header(self.log, KINDS[self.log.name])
        if not isinstance(header.values.get("fingerprint"), dict):
            raise SearchError(f"{self.log} is no log of a search, or its first line is damaged")
        return header
