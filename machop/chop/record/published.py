"""Keeps the result files of a search while it is resumed, to put them back if nothing new was measured."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from chop.record.names import (
    ALL_ROWS_FILE,
    BEST_FILE,
    BLOCKS_FILE,
    FINISHED_FILE,
    HISTOGRAMS_FILE,
    PAGE_FILE,
    REPORT_FILE,
    SUMMARY_FILE,
    TRIALS_FILE,
)
from chop.tools.files import write_whole

RESULTS = (ALL_ROWS_FILE, BEST_FILE, HISTOGRAMS_FILE, REPORT_FILE, PAGE_FILE, SUMMARY_FILE)
LOGS = (TRIALS_FILE, BLOCKS_FILE, FINISHED_FILE)


@dataclass(frozen=True)
class Published:
    """The results of a search in the folder `path`, and the sizes of the logs that they were made of."""

    path: Path
    results: Mapping[str, bytes]
    logged: Mapping[str, int]

    @classmethod
    def of(cls, path: Path) -> Self | None:
        """What is published in a folder; None where no search has ended there."""
        if not (path / SUMMARY_FILE).is_file():
            return None
        results = {file: (path / file).read_bytes() for file in RESULTS if (path / file).is_file()}
        return cls(path, results, _logged(path))

    def put_back(self) -> bool:
        """Write the results as they were if the logs hold nothing new; returns whether they hold nothing new."""
        if _logged(self.path) != self.logged:
            return False
        for file, content in self.results.items():
            path = self.path / file
            if not path.is_file() or path.read_bytes() != content:
                write_whole(path, content)
        return True


def _logged(path: Path) -> dict[str, int]:
    return {file: (path / file).stat().st_size for file in LOGS if (path / file).is_file()}
