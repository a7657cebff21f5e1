"""Opens the log of the points that a comparison measured on demand, and writes its table once all are measured."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from chop.actions.compare.answers import Answers
from chop.actions.search.run.session import spread_out
from chop.errors import SearchError, without_cure
from chop.record.comparison_folder import ComparisonFolder
from chop.record.trial import Trial
from chop.record.trials import TrialLog
from chop.tools.logger import get_logger

logger = get_logger(__name__)

Check = Callable[[Path, Trial], None]


def open_measured(files: ComparisonFolder, key: str, check: Check) -> TrialLog:
    """Open the log of points measured on demand; an interrupted log is continued.

    A new one begins with what the last comparison that was moved aside and is of the same space (`key`) has measured.
    Neither is used where `check`, which is given some of its points, raises SearchError.
    """
    path = files.measured_path
    if path.exists():
        try:
            log = files.open_measured(key, resume=True)
            try:
                _check_some(log.trials, path, check)
            except BaseException:
                log.close()
                raise
            return _told(log, path)
        except SearchError as error:
            logger.warning("%s; points are measured anew", without_cure(error))
            files.put_aside(path)
    log = files.open_measured(key, resume=False)
    for earlier in files.earlier():
        for trial in _measured(earlier, key, check):
            log.append(trial)
        if log.trials:
            return _told(log, earlier.path)
    return log


def _check_some(trials: Sequence[Trial], path: Path, check: Check) -> None:
    for trial in spread_out([trial for trial in trials if trial.counts]):
        check(path, trial)


def _told(log: TrialLog, where: Path) -> TrialLog:
    if log.trials:
        logger.info("%s has the metrics of %d points; they are not measured again", where, len(log.trials))
    return log


def _measured(files: ComparisonFolder, key: str, check: Check) -> list[Trial]:
    """The points of an earlier log, if it is of the same space."""
    try:
        found = files.measured()
        if found.fingerprint != {"key": key}:
            return []
        _check_some(found.trials, files.measured_path, check)
    except OSError:
        return []
    except SearchError as error:
        logger.info("%s; points are measured anew", without_cure(error))
        return []
    return found.trials


def write_measured(answers: Answers, files: ComparisonFolder, about: Mapping[str, Any]) -> None:
    """Write the exhaustive table of points measured on demand; not if points have no numbers."""
    measured = answers.landscape()
    rows = np.arange(measured.size)
    indexes = np.array(answers.indexes(rows), dtype=np.int64)  # all points are measured: not too many for an array
    order = np.argsort(indexes, kind="stable")
    if np.array_equal(indexes[order], rows):
        files.write_landscape({name: values[order] for name, values in measured.metrics.items()}, about)
