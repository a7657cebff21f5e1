"""What the folder of a comparison knows of the points: their landscape, or those that were measured when asked for."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from chop.actions.compare.answers import Answers
from chop.actions.search.run.session import spread_out
from chop.errors import SearchError
from chop.record.damage import keep_damaged
from chop.record.landscape import join_parts, part_path, read_about, write_part
from chop.record.names import LANDSCAPE_FILE, MEASURED_FILE, PARTS_FOLDER
from chop.record.trial import Trial
from chop.record.trials import TrialLog, read_trials
from chop.tools.logger import get_logger

logger = get_logger(__name__)

Check = Callable[[Path, Trial], None]


def keep_landscape(known: Path, folder: Path, about: Mapping[str, Any]) -> Path:
    """Put the landscape `known` into `folder`, whole or not at all, with the goals of `about`; its path.

    It is the same file where goals and disk allow it, else a copy.
    """
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / LANDSCAPE_FILE
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
    parts = folder / PARTS_FOLDER
    parts.mkdir(exist_ok=True)
    shutil.copyfile(known, part_path(parts, 0))
    return join_parts(parts, 1, target, about)


def open_measured(folder: Path, key: str, check: Check) -> TrialLog:
    """The log of the points that are measured when they are asked for, one that was cut off with what it has.

    A new one begins with what the last comparison that was moved aside (`FOLDER-1` …) and is of the same space (`key`)
    has measured. Neither is used where `check`, which is given some of its points, raises SearchError.
    """
    path = folder / MEASURED_FILE
    fingerprint = {"key": key}
    if path.exists():
        try:
            log = TrialLog.resume(path, fingerprint, in_order=False)
            try:
                _check_some(log.trials, path, check)
            except BaseException:
                log.close()
                raise
            return _told(log, path)
        except SearchError as error:
            logger.warning("%s; points are measured anew", str(error).partition(";")[0])
            keep_damaged(path)
            path.unlink()
    log = TrialLog.create(path, fingerprint)
    asides = (one.parent for one in folder.parent.glob(f"{folder.name}-*/{MEASURED_FILE}"))
    numbered = sorted((one for one in asides if _number(one).isdecimal()), key=lambda one: -int(_number(one)))
    for earlier in numbered:
        for trial in _measured(earlier / MEASURED_FILE, key, check):
            log.append(trial)
        if log.trials:
            return _told(log, earlier)
    return log


def _number(folder: Path) -> str:
    """What stands behind the last dash of a folder's name."""
    return folder.name.rpartition("-")[2]


def _check_some(trials: Sequence[Trial], path: Path, check: Check) -> None:
    for trial in spread_out([trial for trial in trials if trial.counts]):
        check(path, trial)


def _told(log: TrialLog, where: Path) -> TrialLog:
    if log.trials:
        logger.info("%s has the metrics of %d points; they are not measured again", where, len(log.trials))
    return log


def _measured(path: Path, key: str, check: Check) -> list[Trial]:
    """What an earlier log has, if it is of the same space."""
    try:
        found = read_trials(path, in_order=False)
        if found.fingerprint != {"key": key}:
            return []
        _check_some(found.trials, path, check)
    except OSError:
        return []
    except SearchError as error:
        logger.info("%s; points are measured anew", str(error).partition(";")[0])
        return []
    return found.trials


def write_measured(answers: Answers, folder: Path, about: Mapping[str, Any]) -> None:
    """Write the landscape of points that were measured when they were asked for; none where they have no numbers."""
    measured = answers.landscape()
    rows = np.arange(measured.size)
    indexes = np.array(answers.indexes(rows), dtype=np.int64)  # all points are measured: not too many for an array
    order = np.argsort(indexes, kind="stable")
    if np.array_equal(indexes[order], rows):
        parts = folder / PARTS_FOLDER
        write_part(part_path(parts, 0), 0, {name: values[order] for name, values in measured.metrics.items()})
        join_parts(parts, 1, folder / LANDSCAPE_FILE, about)
