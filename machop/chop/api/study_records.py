"""The records of a study: its folder, its summary, its trials and their formats."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from chop.errors import SearchError
from chop.record.folder import SearchFolder
from chop.record.rows import finished_row
from chop.record.summary import SearchSummary
from chop.record.trial import BestRow, Trial


class StudyRecords:
    """The records in the files of a search, each read once."""

    def __init__(self, files: SearchFolder) -> None:
        self._files = files

    @property
    def files(self) -> SearchFolder:
        """The records of the study."""
        return self._files

    @property
    def folder(self) -> Path:
        """The folder of the study's files; a temporary one goes away with the study."""
        return self._files.path

    @cached_property
    def summary(self) -> SearchSummary:
        """Why the search ended, what it found and what its figures rest on."""
        return self._files.summary

    @cached_property
    def _trials(self) -> dict[int, Trial]:
        return {trial.number: trial for trial in self._files.trials()}

    @cached_property
    def _configs(self) -> dict[int, Mapping[str, Any]]:
        return {row["number"]: row["sampled_config"] for row in self._files.rows()}

    @cached_property
    def _tuned_rows(self) -> dict[int, BestRow]:
        """Every network that was tuned, on the front or not, by trial."""
        found = {}
        for number, own in self._files.tuned().items():
            row = BestRow(self._trials[number], (), self._configs[number])
            found[number] = finished_row(row, own.as_json())
        return {**found, **{row.trial.number: row for row in self.summary.best if row.finished}}

    @cached_property
    def _rows_made(self) -> dict[int, BestRow]:
        """The rows of the front, and of the networks that were tuned without getting there, by trial."""
        return {**self._tuned_rows, **{row.trial.number: row for row in reversed(self.summary.best)}}

    def _row_of(self, number: int) -> BestRow:
        if isinstance(number, bool) or not hasattr(number, "__index__"):
            raise SearchError(f"study[...] takes the number of a trial, got {number!r}")
        number = int(number)
        if number not in self._trials:
            raise SearchError(f"there is no trial {number} (there are {len(self._trials)}, from 0)")
        return self._rows_made.get(number) or BestRow(self._trials[number], (), self._configs[number])
