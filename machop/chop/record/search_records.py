"""Reads the files of a search in its folder; a file of another search is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from chop.errors import SearchError, WrongSearchError
from chop.record.block_totals import ExhaustiveTotals
from chop.record.blocks import blocks_problem, read_blocks
from chop.record.damage import DAMAGES
from chop.record.finished import TunedNetwork, checked_graph, last_tuned, read_finished
from chop.record.json_lines import Header, ends_within_line, read_header
from chop.record.landscape import Landscape
from chop.record.names import (
    ALL_ROWS_FILE,
    BEST_FILE,
    BLOCKS,
    BLOCKS_FILE,
    CONFIG_FILE,
    FINISHED_FILE,
    INITIAL_FILE,
    LANDSCAPE_FILE,
    SUMMARY_FILE,
    TRAINING_STATE_FILE,
    TRIALS,
    TRIALS_FILE,
)
from chop.record.rows import best_row_from_json, trial_from_json
from chop.record.sealed_json import RESUME, Sealed, read_document, read_rows
from chop.record.sealed_toml import read_toml_seal
from chop.record.summary import SearchSummary
from chop.record.training import TrainingState, network_name, network_path, read_training_state
from chop.record.trial import BestRow, Trial
from chop.record.trials import LoggedTrials, read_trials
from chop.record.version import new_identity
from chop.tools.folder_lock import in_use

ROW_FILES = (ALL_ROWS_FILE, BEST_FILE)
KINDS = {TRIALS_FILE: TRIALS, BLOCKS_FILE: BLOCKS}


class SearchRecords:
    """Reads the files of a search in the folder `path`."""

    def __init__(self, path: Path | str, identity: str = "") -> None:
        self.path = Path(path)
        self._identity = identity or new_identity()

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
            raise WrongSearchError(f"{self.path}: no search there; give the folder search_ckpts of one, with its log")
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

    @property
    def weights(self) -> str | None:
        """The checksum of the weights that the search measured; None where no file tells it. Raises SearchError."""
        if self.holds_search:
            found = self.fingerprint.get("weights")
        else:
            found = (self.document(SUMMARY_FILE) or {}).get("origin", {}).get("weights")
        return found or None

    def logged(self) -> LoggedTrials:
        """The trial log. Raises SearchError if there is none, or it is damaged at its beginning."""
        path = self.path / TRIALS_FILE
        if not path.is_file():
            raise WrongSearchError(
                f"{path} does not exist; give the folder search_ckpts of a search that keeps its trials"
            )
        return read_trials(path)

    def blocks(self) -> ExhaustiveTotals:
        """The totals of the finished blocks of an exhaustive search, also while it runs. Raises SearchError."""
        header, found = self.header, ExhaustiveTotals()
        for block in read_blocks(self.path / BLOCKS_FILE, header):
            if block.number not in found.done:
                found.add(block)
        return found

    def log_problems(self) -> list[str]:
        """What is damaged in the log, and how much of it is sound, in a line; empty where it is whole.

        Raises SearchError as `header` does.
        """
        header, path = self.header, self.log
        if self.is_by_trial:
            found = self.logged()
            sound, problem = f"the {len(found.trials)} trials before it are shown", found.problem
        else:
            problem = blocks_problem(self.path / BLOCKS_FILE, header)
            sound = "the other blocks are shown"
        if not problem and path is not None and not in_use(self.path) and ends_within_line(path):
            problem, sound = "its last line is cut off and left out", "what is before it is shown"
        return [f"{path}: {problem}; {sound}"] if problem else []

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
            rows = self.rows(BEST_FILE)
            if missing := [row["number"] for row in rows if row["number"] not in trials]:
                raise SearchError(f"{path} names trial {missing[0]}, which the log does not have: {_RESUME}")
            return [best_row_from_json(row, trials[row["number"]]) for row in rows]
        except DAMAGES as error:
            raise SearchError(f"{path} is damaged ({error}): {_RESUME}") from error

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
    def is_empty(self) -> bool:
        """Whether the search has measured nothing of its own, and trained nothing, yet.

        Raises SearchError where its log is damaged at its beginning.
        """
        if self.log is None:
            return True
        if (self.path / TRAINING_STATE_FILE).exists():
            return False
        if not self.is_by_trial:
            return not self.blocks().done
        found = self.logged()
        return not found.problem and all(trial.inherited for trial in found.trials)

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
            raise WrongSearchError(
                f"{path} does not exist; give the folder search_ckpts of a finished search"
            ) from error
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


_RESUME = "go on with --resume, which measures no trial again and writes it"
