"""The names of all files in the folder of a search or of a comparison."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from chop.errors import SearchError
from chop.tools.file_kinds import wrong_kind

SEARCH_FOLDER = "search_ckpts"
COMPARISON_FOLDER = "compare"
TRIALS_FILE = "trials.jsonl"
BLOCKS_FILE = "blocks.jsonl"
MEASURED_FILE = "measured.jsonl"
ALL_ROWS_FILE = "log.json"
"""Every trial with its config, written when the search ends; the log, to which a search appends, is `TRIALS_FILE`."""

BEST_FILE = "best.json"
INITIAL_FILE = "initial.json"
SUMMARY_FILE = "summary.json"
CONFIG_FILE = "resolved.toml"
LANDSCAPE_FILE = "landscape.parquet"
PARTS_FOLDER = "landscape.parts"
HISTOGRAMS_FILE = "histograms.json"
FINISHED_FILE = "finished.jsonl"
FINISHED_FOLDER = "finished"
"""The graphs of the networks that were tuned after the search, which `FINISHED_FILE` lists."""

REPORT_FILE = "report.md"
PAGE_FILE = "report.html"
NETWORKS_FOLDER = "networks"
TRAINING_STATE_FILE = "training.safetensors"
"""The state of a training whose snapshots are trials; the snapshots themselves are in `NETWORKS_FOLDER`."""

ROW_ENDINGS = (".json",)
"""Endings of files of rows, which commands take in place of the folder of a search."""

EVALUATIONS_FILES = ("evaluations.parquet", "evaluations.csv")


@dataclass(frozen=True)
class Kind:
    """A kind of log. Its header holds the version under `key`; messages call it `name`.

    Logs with `unversioned` had no version in version 1.
    """

    key: str
    name: str
    unversioned: bool = False


TRIALS = Kind("chop_trials", "trial log")
BLOCKS = Kind("chop_blocks", "block log", unversioned=True)
FINISHED = Kind("chop_finished", "log of tuned networks")


def search_folder(path: Path, takes: Collection[str] = ()) -> Path:
    """The folder of a search in a project's folder, `mase_output/NAME`; any other path as it is.

    Raises SearchError for a file whose name has none of the endings that the caller `takes`.
    """
    if path.is_file() and path.suffix not in takes:
        is_within = any((path.parent / file).is_file() for file in (TRIALS_FILE, BLOCKS_FILE))
        cure = f"give its folder, {path.parent}" if is_within else "give the folder of one, as mase_output/NAME"
        raise SearchError(wrong_kind(path, (), "a search", cure) or f"{path} is a file, and not a search: {cure}")
    within = (path / "software" / SEARCH_FOLDER, path / SEARCH_FOLDER)
    return next((own for own in within if own.is_dir()), path)
