"""The names of all files in the folder of a search or of a comparison, and how those are told from files of others."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from chop.errors import WrongSearchError
from chop.tools.file_kinds import wrong_kind
from chop.tools.own_files import OwnFiles

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
PICTURES = ("best_so_far", "hypervolume", "front", "regret", "evaluations_to")
"""The pictures of a comparison, without the endings `PICTURE_KINDS`."""

PICTURE_KINDS = ("png", "svg")
SEALED_TOML = "# chop record "
"""The first characters of a TOML file with a checksum."""


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

    Raises WrongSearchError for a file whose name has none of the endings that the caller `takes`.
    """
    if path.is_file() and path.suffix not in takes:
        is_within = any((path.parent / file).is_file() for file in (TRIALS_FILE, BLOCKS_FILE))
        cure = f"give its folder, {path.parent}" if is_within else "give the folder of one, as mase_output/NAME"
        raise WrongSearchError(wrong_kind(path, (), "a search", cure) or f"{path} is a file, and not a search: {cure}")
    within = (path / "software" / SEARCH_FOLDER, path / SEARCH_FOLDER)
    return next((own for own in within if own.is_dir()), path)


def _is_of_search(path: Path) -> bool:
    if path.name != CONFIG_FILE:
        return path.name.startswith(_OF_SEARCHES_ALONE)
    try:
        return path.read_bytes().decode(errors="replace").lstrip("\ufeff").startswith(SEALED_TOML)
    except OSError:
        return False


_OF_SEARCHES_ALONE = (TRIALS_FILE, BLOCKS_FILE, PARTS_FOLDER, FINISHED_FILE, TRAINING_STATE_FILE, INITIAL_FILE)
_LOGS = (FINISHED_FILE, BLOCKS_FILE, TRIALS_FILE)
_OF_COMPARISONS_ALONE = (PARTS_FOLDER, LANDSCAPE_FILE, BLOCKS_FILE, MEASURED_FILE)

SEARCH_FILES = OwnFiles(
    "search",
    (
        *(
            REPORT_FILE,
            PAGE_FILE,
            ALL_ROWS_FILE,
            BEST_FILE,
            SUMMARY_FILE,
            HISTOGRAMS_FILE,
            INITIAL_FILE,
            LANDSCAPE_FILE,
        ),
        *(PARTS_FOLDER, FINISHED_FOLDER, NETWORKS_FOLDER, TRAINING_STATE_FILE, CONFIG_FILE),
        *(f"{log}.damaged*" for log in _LOGS),
        *_LOGS,
    ),
    _is_of_search,
)
"""The files of a search; it is known by a log, or by the options that are written before it."""

COMPARISON_FILES = OwnFiles(
    "comparison",
    (
        *(f"{picture}.{kind}" for picture in PICTURES for kind in PICTURE_KINDS),
        *(REPORT_FILE, PAGE_FILE, SUMMARY_FILE, *EVALUATIONS_FILES),
        *(f"{log}.damaged*" for log in (BLOCKS_FILE, MEASURED_FILE)),
        *_OF_COMPARISONS_ALONE,
    ),
    lambda path: path.name.startswith(_OF_COMPARISONS_ALONE),
)
"""The files of a comparison; it is known by what it has measured."""
