"""The folder of a search: reads and writes all its files; a file of another search is refused."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from chop.errors import SearchError
from chop.record.blocks import BlockLog
from chop.record.damage import DAMAGES
from chop.record.finished import FinishedLog, TunedNetwork, checked_graph, last_tuned, read_finished
from chop.record.histogram import Histogram
from chop.record.json_lines import Header, read_header
from chop.record.landscape import Landscape, Scores, join_parts, part_path, write_part
from chop.record.names import (
    ALL_ROWS_FILE,
    BEST_FILE,
    BLOCKS,
    BLOCKS_FILE,
    CONFIG_FILE,
    FINISHED_FILE,
    HISTOGRAMS_FILE,
    INITIAL_FILE,
    LANDSCAPE_FILE,
    PARTS_FOLDER,
    REPORT_FILE,
    SUMMARY_FILE,
    TRIALS,
    TRIALS_FILE,
)
from chop.record.rows import best_row_from_json, trial_from_json
from chop.record.sealed_json import RESUME, Sealed, indented, read_document, read_rows, sealed, sealed_rows
from chop.record.sealed_toml import read_toml_seal, sealed_toml
from chop.record.summary import SearchSummary
from chop.record.training import TrainingState, network_name, network_path, read_training_state, write_training_state
from chop.record.trial import BestRow, Trial
from chop.record.trials import LoggedTrials, TrialLog, read_trials
from chop.record.version import new_identity
from chop.tools.files import write_whole

ROW_FILES = (ALL_ROWS_FILE, BEST_FILE)
KINDS = {TRIALS_FILE: TRIALS, BLOCKS_FILE: BLOCKS}


class SearchFolder:
    """The files of a search in the folder `path`.

    >>> folder = SearchFolder("mase_output/jets/software/search_ckpts")  # doctest: +SKIP
    >>> folder.summary.reason, len(folder.trials()), [row.trial.number for row in folder.best()]  # doctest: +SKIP
    ('n_trials', 300, [17, 42, 108])
    """

    def __init__(self, path: Path | str, identity: str = "") -> None:
        self.path = Path(path)
        self._identity = identity or new_identity()

    # -- what is there

    @property
    def log(self) -> Path | None:
        """The log of the search, of trials or of blocks; None if there is none."""
        return next((self.path / file for file in KINDS if (self.path / file).is_file()), None)

    @property
    def holds_search(self) -> bool:
        """Whether the folder holds a search, finished or not."""
        return self.log is not None

    @property
    def is_by_trial(self) -> bool:
        """Whether the search logs every trial; otherwise it runs block by block."""
        return self.log is not None and self.log.name == TRIALS_FILE

    @property
    def header(self) -> Header:
        """The header of the log. Raises SearchError if there is no log, or its header is damaged."""
        if self.log is None:
            raise SearchError(f"{self.path}: no search there; give the folder search_ckpts of one, with its log")
        return read_header(self.log, KINDS[self.log.name])

    @property
    def identity(self) -> str:
        """The identity in all files of the search: that of its log, or a new one without a log."""
        return self.header.identity if self.holds_search else self._identity

    @property
    def fingerprint(self) -> dict[str, Any]:
        """The fingerprint that a resumed search must match. Raises SearchError as `header` does."""
        found = self.header.values.get("fingerprint")
        if not isinstance(found, dict):
            raise SearchError(f"{self.log} is no log of a search, or its first line is damaged")
        return found

    # -- reading

    def logged(self) -> LoggedTrials:
        """The trial log. Raises SearchError if there is none, or it is damaged at its beginning."""
        path = self.path / TRIALS_FILE
        if not path.is_file():
            raise SearchError(f"{path} does not exist; give the folder search_ckpts of a search that keeps its trials")
        return read_trials(path)

    def trials(self) -> list[Trial]:
        """All trials in order; for a search block by block those of its front, once it has ended.

        Raises SearchError where there is no search, or where its log is damaged at its beginning.
        """
        _ = self.header
        if self.is_by_trial:
            return self.logged().trials
        front = (self.document(SUMMARY_FILE) or {}).get("front", ())
        points = {row["trial"]: row["point"] for row in front}
        return [trial_from_json(row, points.get(row["number"], {})) for row in self.rows()]

    def best(self) -> list[BestRow]:
        """The Pareto front, or the best trial, with configs. Raises SearchError as `rows` does."""
        trials = {trial.number: trial for trial in self.trials()}
        path = self.path / BEST_FILE
        try:
            return [best_row_from_json(row, trials[row["number"]]) for row in self.rows(BEST_FILE)]
        except DAMAGES as error:
            raise SearchError(f"{path} names a trial that the log does not have ({error!r}): {_RESUME}") from error

    @property
    def summary(self) -> SearchSummary:
        """The summary of the search: result, reason of its end, origin of its figures.

        Raises SearchError for a search that has not ended, or whose files are damaged or not of one end of it.
        """
        path = self.path / SUMMARY_FILE
        row = self.document(SUMMARY_FILE)
        if row is None:
            _ = self.header
            raise SearchError(f"{path} does not exist: the search was cut off, or is of an earlier chop: {_RESUME}")
        best = self.best()
        try:
            if [own["trial"] for own in row["front"]] != [own.trial.number for own in best]:
                raise ValueError(f"{BEST_FILE} has other trials: the search was cut off while it wrote them")
            return SearchSummary.from_json(row).with_best(best)
        except DAMAGES as error:
            raise SearchError(f"{path} is damaged ({error}): {_RESUME}") from error

    @property
    def has_tuned(self) -> bool:
        """Whether networks were tuned after the search, perhaps with other options."""
        return (self.path / FINISHED_FILE).exists()

    def tuned(self) -> dict[int, TunedNetwork]:
        """The networks that were tuned when the search had ended, by trial. Raises SearchError as `rows` does."""
        finish = (self.document(SUMMARY_FILE) or {}).get("finish")
        return last_tuned(read_finished(self.path, self.identity), finish) if finish else {}

    def finished_graph(self, graph: str, sha256: str) -> Path:
        """The file of a tuned network. Raises SearchError where it is missing, or was changed."""
        return checked_graph(self.path, graph, sha256)

    @property
    def resolved(self) -> str | None:
        """The TOML text of all options of the search; None if it had none. Raises SearchError."""
        path = self.config()
        return str(read_toml_seal(path).content) if path.exists() else None

    def rows(self, file: str = ALL_ROWS_FILE) -> list[dict[str, Any]]:
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
        """A JSON file of the search, None if it is missing. Raises SearchError as `rows` does."""
        path = self.path / file
        if not path.exists():
            return None
        cure = "start anew without --resume" if file == INITIAL_FILE else RESUME
        found: dict[str, Any] = self._of_this_search(path, read_document(path, cure)).content
        return found

    def config(self) -> Path:
        """The path of the options of the search, checked if it exists. Raises SearchError as above."""
        path = self.path / CONFIG_FILE
        if path.exists():
            self._of_this_search(path, read_toml_seal(path))
        return path

    def landscape(self) -> Landscape:
        """The exhaustive table. Raises SearchError if it is missing, or of another search."""
        path = self.path / LANDSCAPE_FILE
        found = Landscape.read(path)
        self.require_own(path, found.version, found.about.get("search", ""))
        return found

    def network_name(self, number: int) -> str:
        """The name of the file of a network with weights of its own, as a sampled config holds it."""
        return network_name(number)

    def network(self, name: str) -> Path:
        """The path of such a file. Raises SearchError for any other name, and where the file is missing."""
        return network_path(self.path, name)

    @property
    def training_state(self) -> TrainingState | None:
        """The state from which the training of the search goes on; None if there is none that is sound."""
        return read_training_state(self.path, self.identity)

    def _of_this_search(self, path: Path, found: Sealed) -> Sealed:
        self.require_own(path, found.version, found.search)
        return found

    def require_own(self, path: Path, version: int, search: str) -> None:
        """Raise SearchError if a file is not of the same search as the log."""
        log = self.log
        if log is None or "fingerprint" not in (header := self.header).values:
            return  # alone, or of a comparison
        if version > 1 and search != header.identity:  # one without an identity was checked when it was read
            raise SearchError(f"{path} belongs to another search than {log.name} beside it: the folder is a mixed copy")

    # -- writing: one command at a time, which holds the folder (`chop.tools.folder_lock`)

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

    def retract(self) -> None:
        """Remove the result files when the winners cannot be verified."""
        for file in (BEST_FILE, SUMMARY_FILE, REPORT_FILE):
            (self.path / file).unlink(missing_ok=True)

    def _write_json(self, file: str, value: Any) -> Path:
        return write_whole(self.path / file, json.dumps(value, indent=2) + "\n")


_RESUME = "go on with --resume, which measures no trial again and writes it"
