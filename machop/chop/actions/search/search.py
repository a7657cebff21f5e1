"""Entry points of a search: `ch search` and `chop.actions.search.search`."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import nn

from chop.actions.own_place import OwnPlace
from chop.actions.search.checks import checked_call, checked_run
from chop.actions.search.run.job import SearchJob
from chop.actions.search.run.publish import SearchResult, write_reports
from chop.actions.search.run.watcher import Watcher
from chop.actions.search.strategies.optuna.storage import without_password
from chop.actions.search_flags import SearchFlags
from chop.config.run_config import RunConfig, dump_toml
from chop.dataset.data import Data
from chop.errors import Interrupted, SearchError, WrongSearchError
from chop.record.folder import SearchFolder
from chop.record.names import PAGE_FILE, SEARCH_FILES, SUMMARY_FILE
from chop.report.search_report import print_summary
from chop.tools.folder_lock import OwnFolder, only_writer
from chop.tools.logger import get_logger

logger = get_logger(__name__)


def search(
    model: nn.Module,
    data_module: Data,
    search_config: Mapping[str, Any],
    save_path: Path | str,
    *,
    seed: int = 0,
    resume: bool = False,
    init_from: Sequence[str | Path] = (),
    device: str = "cpu",
) -> SearchResult:
    """Search the best number formats of `model`, from Python; the argument is the table `[search]` of a TOML file.

    `init_from` names earlier searches to begin with: folders, or `sqlite:///FILE.db#STUDY`.

    Writes `best.json`, `log.json` and the trial log to `save_path`. Raises ConfigError with all that is wrong with
    `search_config`, before anything runs, and FolderError where another search is writing to `save_path`, or
    a file there that is of no search has the name of one that a search writes.
    """
    job = checked_call(SearchJob, model, data_module, search_config, Path(save_path), seed, device)
    with only_writer(job.folder) as own:
        if not resume:
            SEARCH_FILES.require_own(job.folder)
        result = job.begun_from(list(map(str, init_from)), resume).run(resume, own.settle)
        print_summary(job.files.summary, job.folder)
    return result


def run_search(
    run_config: RunConfig,
    resume: bool = False,
    init_from: Sequence[str] = (),
    typed: Sequence[str] = (),
    flags: SearchFlags | None = None,
    watcher: Watcher | None = None,
    begins: Callable[[Path], object] = lambda folder: None,
) -> SearchResult:
    """Run `ch search` with a TOML file and the options of the command line, which was `typed` like this.

    Values of `flags` go before those of the table `[search]`. With a `watcher`, which is told each trial, the result is
    not printed. `begins` is called with the folder once everything is checked.
    """
    if flags is not None:
        run_config = run_config.with_overrides(flags.overrides(run_config.tables))
    job = checked_run(SearchJob, run_config, "search_ckpts")
    job = replace(job, command=command_line(typed), watcher=watcher or job.watcher)
    with only_writer(job.folder) as own:
        job = job.begun_from(init_from, resume)  # before the earlier search, which may be one of them, is moved aside
        if resume and not job.files.holds_search:
            raise WrongSearchError(f"there is no search to resume in {job.folder}; start one without --resume")
        begins(job.folder)
        result = _run_in(own, job, run_config, resume)
        if watcher is None:
            print_summary(job.files.summary, job.folder)
        return result


def _run_in(own: OwnFolder, job: SearchJob, run_config: RunConfig, resume: bool) -> SearchResult:
    """Run a search of the command line in a folder that is locked against other commands."""
    place = None if resume else OwnPlace(own, SEARCH_FILES, on_move=_name_new_place)

    def make_room() -> None:
        """Settle in the folder, from which a new search moves an earlier one aside."""
        if place is None:
            own.settle()
        else:
            place.take()
            job.files.write_resolved(dump_toml(run_config))

    try:
        result = job.run(resume, make_room)
    except BaseException as end:
        if place is not None:
            place.give_back()
        if not isinstance(end, KeyboardInterrupt) or isinstance(end, Interrupted):
            raise
        if place is not None and not place.is_taken:
            raise
        logger.warning("interrupted before the report: what was measured is in %s, go on with --resume", job.folder)
        raise Interrupted from end
    if resume:  # not before: it may be refused as another search than the one in the folder
        own.require_in_place()
        job.files.write_resolved(dump_toml(run_config))
    return result


def _name_new_place(path: Path) -> None:
    """Write the reports of a search that was moved anew: their commands name its folder.

    They stay as they are where its records are damaged.
    """
    moved = SearchFolder(path)
    if (moved.path / SUMMARY_FILE).is_file():
        with suppress(SearchError):
            write_reports(moved, (moved.path / PAGE_FILE).is_file())


def command_line(typed: Sequence[str]) -> str:
    """The command line, without the passwords of storages."""
    return shlex.join(map(without_password, typed))
