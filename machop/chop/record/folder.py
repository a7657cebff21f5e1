"""The folder of a search: reads and writes all its files; a file of another search is refused."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from shutil import rmtree
from typing import Any

from chop.errors import SearchError
from chop.record.blocks import BlockLog
from chop.record.finished import FinishedLog
from chop.record.histogram import Histogram
from chop.record.landscape import Scores, join_parts, part_path, write_part
from chop.record.names import (
    ALL_ROWS_FILE,
    BEST_FILE,
    BLOCKS_FILE,
    CONFIG_FILE,
    HISTOGRAMS_FILE,
    INITIAL_FILE,
    LANDSCAPE_FILE,
    PAGE_FILE,
    PARTS_FOLDER,
    REPORT_FILE,
    SUMMARY_FILE,
    TRIALS_FILE,
)
from chop.record.sealed_json import indented, sealed, sealed_rows
from chop.record.sealed_toml import sealed_toml
from chop.record.search_records import SearchRecords
from chop.record.summary import SearchSummary
from chop.record.training import TrainingState, write_training_state
from chop.record.trials import TrialLog
from chop.tools.files import write_whole


class SearchFolder(SearchRecords):
    """The files of a search in the folder `path`.

    One command at a time writes, which holds the folder (`chop.tools.folder_lock`).

    >>> folder = SearchFolder("mase_output/jets/software/search_ckpts")  # doctest: +SKIP
    >>> folder.summary.reason, len(folder.trials()), [row.trial.number for row in folder.best()]  # doctest: +SKIP
    ('n_trials', 300, [17, 42, 108])
    """

    def begin_trials(self, fingerprint: Mapping[str, Any], about: Mapping[str, Any]) -> TrialLog:
        """A new log of trials. Raises SearchError if there is one already."""
        return TrialLog.create(self.path / TRIALS_FILE, fingerprint, about, self._identity)

    def resume_trials(self, fingerprint: Mapping[str, Any]) -> TrialLog:
        """The log of trials, opened to continue it. Raises SearchError as `TrialLog.resume` does."""
        if not self.is_by_trial and self.holds_search:
            raise SearchError(
                f"the search in {self.path} measures its points block by block, in the order of their numbers; "
                "undo what was changed under [search] since, or start anew without --resume"
            )
        return TrialLog.resume(self.path / TRIALS_FILE, fingerprint)

    def open_finished(self) -> FinishedLog:
        """The log of tuned networks, new or to be continued. Raises SearchError as `FinishedLog.open` does."""
        return FinishedLog.open(self.path, self.identity)

    @property
    def block_size(self) -> int | None:
        """The number of points per block in the log; None if it states none."""
        return BlockLog.block_size_of(self.path / BLOCKS_FILE)

    def open_blocks(self, header: Mapping[str, Any], resume: bool) -> BlockLog:
        """The log of blocks, new or to be continued. Raises SearchError as `BlockLog` does."""
        return BlockLog(self.path / BLOCKS_FILE, header, resume, self._identity)

    @property
    def parts(self) -> Path:
        """The folder for the blocks of an exhaustive table, until `join_landscape`."""
        return self.path / PARTS_FOLDER

    def join_landscape(self, blocks: int, about: Mapping[str, Any]) -> Path:
        """Join the blocks into the exhaustive table; `about` describes the space."""
        return join_parts(self.parts, blocks, self.path / LANDSCAPE_FILE, {**about, "search": self.identity})

    def write_landscape(self, metrics: Scores, about: Mapping[str, Any]) -> Path:
        """Write the exhaustive table of known metrics, by point."""
        write_part(part_path(self.parts, 0), 0, metrics)
        return self.join_landscape(1, about)

    def write_log(self, rows: Sequence[Mapping[str, Any]]) -> Path:
        """Write `log.json`, one line per trial."""
        texts = sealed_rows(rows, ALL_ROWS_FILE, self.identity)
        lines = (f'"{number}": {text}' for number, text in enumerate(texts))
        return write_whole(self.path / ALL_ROWS_FILE, "{\n" + ",\n".join(lines) + "\n}\n")

    def write_best(self, rows: Sequence[Mapping[str, Any]]) -> Path:
        """Write `best.json`."""
        texts = sealed_rows(rows, BEST_FILE, self.identity)
        return self._write_json(BEST_FILE, {str(index): json.loads(text) for index, text in enumerate(texts)})

    def write_summary(self, summary: SearchSummary) -> Path:
        """Write `summary.json`; the rows of `best` are in `best.json`."""
        text = indented(sealed(summary.as_json(), SUMMARY_FILE, self.identity))
        return write_whole(self.path / SUMMARY_FILE, text)

    def write_report(self, text: str) -> Path:
        """Write `report.md`."""
        return write_whole(self.path / REPORT_FILE, text)

    def write_page(self, html: str) -> Path:
        """Write `report.html`."""
        return write_whole(self.path / PAGE_FILE, html)

    def write_histograms(self, histograms: Mapping[str, Histogram]) -> Path:
        """Write the histogram of each metric over all points."""
        return self._write_json(HISTOGRAMS_FILE, {name: one.as_json() for name, one in histograms.items()})

    def write_initial(self, document: Mapping[str, Any] | None) -> None:
        """Write the start of the search in place of an earlier one; None: without one."""
        if document is None:
            (self.path / INITIAL_FILE).unlink(missing_ok=True)
        else:
            self._write_json(INITIAL_FILE, sealed(document, INITIAL_FILE, self.identity))

    def write_resolved(self, toml: str) -> Path:
        """Write all options of the search."""
        return write_whole(self.path / CONFIG_FILE, sealed_toml(toml, self.identity))

    def write_training_state(self, state: TrainingState) -> Path:
        """Write the state from which the training goes on, in place of the one before."""
        return write_training_state(self.path, self.identity, state)

    def withdraw(self) -> None:
        """Remove the files of a new search that has measured nothing. Raises SearchError as `is_empty` does."""
        if not self.is_empty:
            return
        for file in (TRIALS_FILE, BLOCKS_FILE, INITIAL_FILE, CONFIG_FILE):
            (self.path / file).unlink(missing_ok=True)
        rmtree(self.parts, ignore_errors=True)

    def retract(self) -> None:
        """Remove the result files when the winners cannot be verified."""
        for file in (BEST_FILE, SUMMARY_FILE, REPORT_FILE, PAGE_FILE):
            (self.path / file).unlink(missing_ok=True)

    def _write_json(self, file: str, value: Any) -> Path:
        return write_whole(self.path / file, json.dumps(value, indent=2) + "\n")
