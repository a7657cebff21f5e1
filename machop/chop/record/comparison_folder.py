"""The folder of a comparison: reads and writes all its files."""

from __future__ import annotations

import io
import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from chop.errors import SearchError, WrongSearchError
from chop.record.blocks import BlockLog
from chop.record.comparison import CompareSummary
from chop.record.comparison_json import comparison_as_json, comparison_from_json
from chop.record.damage import DAMAGES, keep_damaged
from chop.record.landscape import Landscape, Scores, join_parts, part_path, read_about, write_part
from chop.record.names import (
    BLOCKS_FILE,
    EVALUATIONS_FILES,
    LANDSCAPE_FILE,
    MEASURED_FILE,
    PAGE_FILE,
    PARTS_FOLDER,
    REPORT_FILE,
    SUMMARY_FILE,
)
from chop.record.sealed_json import indented, read_document, sealed
from chop.record.trials import LoggedTrials, TrialLog, read_trials
from chop.tools.files import write_whole

AGAIN = "run `ch compare` once more"


class ComparisonFolder:
    """The files of a comparison in the folder `path`."""

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)

    # -- reading

    @property
    def has_ended(self) -> bool:
        """Whether a comparison reached its report; otherwise it can be continued."""
        return (self.path / REPORT_FILE).exists()

    @property
    def summary(self) -> CompareSummary:
        """The result of the comparison.

        Raises SearchError for one that has not ended, whose file is damaged, or that an earlier chop wrote.
        """
        path = self.path / SUMMARY_FILE
        if not path.is_file():
            raise WrongSearchError(f"{path} does not exist; give the folder compare of a comparison that has ended")
        row = self._document()
        if "curves" not in row:
            raise SearchError(f"{path} was written by an earlier chop, without the curves; {AGAIN}")
        try:
            return comparison_from_json(row)
        except DAMAGES as error:
            raise SearchError(f"{path} is damaged ({error!r}); {AGAIN}") from error

    @property
    def landscape_key(self) -> str | None:
        """The key of the exhaustive table behind the summary; None without one."""
        key = self._document().get("landscape") if (self.path / SUMMARY_FILE).is_file() else None
        return None if key is None else str(key)

    def _document(self) -> dict[str, Any]:
        found: dict[str, Any] = read_document(self.path / SUMMARY_FILE, AGAIN).content
        return found

    def landscape(self) -> Landscape:
        """The exhaustive table. Raises SearchError if there is none."""
        return Landscape.read(self.path / LANDSCAPE_FILE)

    @property
    def has_landscape(self) -> bool:
        """Whether the folder has the exhaustive table of the space."""
        return (self.path / LANDSCAPE_FILE).exists()

    @property
    def has_points(self) -> bool:
        """Whether the folder holds any measured point, or a report."""
        logs = [path for path in (self.measured_path, self.blocks_path) if path.is_file()]
        return self.has_ended or self.has_landscape or any(path.read_bytes().count(b"\n") > 1 for path in logs)

    def measured(self) -> LoggedTrials:
        """The points that were measured on demand. Raises SearchError or OSError."""
        return read_trials(self.measured_path, in_order=False)

    def earlier(self) -> list[ComparisonFolder]:
        """Comparisons moved aside (`FOLDER-1` …) with points measured on demand, latest first."""
        asides = (one.parent for one in self.path.parent.glob(f"{self.path.name}-*/{MEASURED_FILE}"))
        numbered = sorted((one for one in asides if _number(one).isdecimal()), key=lambda one: -int(_number(one)))
        return [ComparisonFolder(one) for one in numbered]

    @property
    def measured_path(self) -> Path:
        """The log of the points that were measured on demand."""
        return self.path / MEASURED_FILE

    @property
    def blocks_path(self) -> Path:
        """The log of blocks, until all points are measured."""
        return self.path / BLOCKS_FILE

    # -- writing: one command at a time, which holds the folder (`chop.tools.folder_lock`)

    def open_measured(self, key: str, resume: bool) -> TrialLog:
        """The log of measured points of the space `key`, new or to be continued. Raises SearchError."""
        if resume:
            return TrialLog.resume(self.measured_path, {"key": key}, in_order=False)
        return TrialLog.create(self.measured_path, {"key": key})

    @property
    def block_size(self) -> int | None:
        """The number of points per block in the log; None if it states none."""
        return BlockLog.block_size_of(self.blocks_path)

    def open_blocks(self, header: Mapping[str, Any], resume: bool) -> BlockLog:
        """The log of blocks, new or to be continued. Raises SearchError as `BlockLog` does."""
        return BlockLog(self.blocks_path, header, resume)

    def withdraw(self) -> None:
        """Remove the files of a comparison that has measured nothing."""
        if not self.has_points:
            self.measured_path.unlink(missing_ok=True)
            self.blocks_path.unlink(missing_ok=True)
            shutil.rmtree(self.parts, ignore_errors=True)

    @staticmethod
    def put_aside(log: Path) -> None:
        """Rename a log that is damaged or not usable."""
        keep_damaged(log)
        log.unlink()

    @property
    def parts(self) -> Path:
        """The folder for the blocks of an exhaustive table, until `join_landscape`."""
        return self.path / PARTS_FOLDER

    def join_landscape(self, blocks: int, about: Mapping[str, Any]) -> None:
        """Join the blocks into the exhaustive table, and remove the log of blocks."""
        join_parts(self.parts, blocks, self.path / LANDSCAPE_FILE, about)
        self.blocks_path.unlink(missing_ok=True)

    def write_landscape(self, metrics: Scores, about: Mapping[str, Any]) -> None:
        """Write the exhaustive table of known metrics, by point."""
        write_part(part_path(self.parts, 0), 0, metrics)
        join_parts(self.parts, 1, self.path / LANDSCAPE_FILE, about)

    def keep_landscape(self, known: Path, about: Mapping[str, Any]) -> Path:
        """Copy the exhaustive table `known` to this folder atomically, with the goals of `about`; its path.

        It is the same file where goals and disk allow it, else a copy.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        target = self.path / LANDSCAPE_FILE
        theirs = read_about(known)
        is_sealed = theirs.pop("version", 1) > 1  # beside sealed files any other would be refused
        theirs.pop("search", None)
        if is_sealed and theirs == json.loads(json.dumps(dict(about))):
            if known == target:
                return target
            try:
                os.link(known, target)
            except OSError:
                pass  # another disk, or one without links
            else:
                return target
        self.parts.mkdir(exist_ok=True)
        shutil.copyfile(known, part_path(self.parts, 0))
        return join_parts(self.parts, 1, target, about)

    def write_evaluations(self, columns: Mapping[str, Any]) -> None:
        """Write every trial of every run, a row each, as Parquet and as CSV."""
        import pyarrow as pa
        import pyarrow.csv
        import pyarrow.parquet

        table = pa.table(dict(columns))
        for file, write in zip(EVALUATIONS_FILES, (pyarrow.parquet.write_table, pyarrow.csv.write_csv), strict=True):
            buffer = io.BytesIO()
            write(table, buffer)
            write_whole(self.path / file, buffer.getvalue())

    def write_summary(self, summary: CompareSummary) -> None:
        """Write all figures, with the key of their exhaustive table."""
        about = read_about(self.path / LANDSCAPE_FILE) if self.has_landscape else {}
        row = {**comparison_as_json(summary), "landscape": about.get("key")}
        write_whole(self.path / SUMMARY_FILE, indented(sealed(row, SUMMARY_FILE, "")))

    def write_report(self, text: str) -> None:
        """Write `report.md`, which marks the comparison as ended."""
        write_whole(self.path / REPORT_FILE, text)

    def write_page(self, html: str) -> None:
        """Write `report.html`."""
        write_whole(self.path / PAGE_FILE, html)


def _number(folder: Path) -> str:
    """The text behind the last dash of a folder's name."""
    return folder.name.rpartition("-")[2]
