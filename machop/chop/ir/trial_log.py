"""The append-only record of a search: a header line, then one line of JSON per trial."""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from itertools import count
from math import isfinite
from pathlib import Path
from typing import Any, BinaryIO

from chop.errors import SearchError
from chop.ir.trial import Trial
from chop.tools.files import write_whole
from chop.tools.logger import get_logger

logger = get_logger(__name__)

VERSION = 1
DAMAGES = (ValueError, KeyError, TypeError, AttributeError, RecursionError, OverflowError)
"""What reading a line raises that is no trial."""

SYNC_SECONDS = 1.0
"""Lines are flushed one by one, and forced through to the device at least this often."""


class TrialLog:
    """Trials in a file. Open it with `create` or `resume`; close it, or use it as a context manager."""

    def __init__(self, path: Path, trials: list[Trial], stream: BinaryIO) -> None:
        self.path = path
        self.trials = trials
        self._stream = stream
        self._synced = 0.0

    @classmethod
    def create(cls, path: Path, fingerprint: Mapping[str, Any], about: Mapping[str, Any] | None = None) -> TrialLog:
        """A new log; raises SearchError where there is one already, so that nothing is lost.

        `about` is for whoever reads the log without the search: what its numbers mean.
        """
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            stream = path.open("xb")
        except FileExistsError as error:
            raise SearchError(f"{path} exists; resume it with --resume or choose another --project") from error
        _lock(stream, path)
        log = cls(path, [], stream)
        log._write({"chop_trials": VERSION, "fingerprint": dict(fingerprint), **(about or {})})
        return log

    @classmethod
    def resume(cls, path: Path, fingerprint: Mapping[str, Any]) -> TrialLog:
        """An earlier log with its trials, to be added to.

        Raises SearchError where there is none, or where it belongs to another search; then it says what differs.
        """
        if not path.exists():
            raise SearchError(f"there is no search to resume: {path} does not exist; start one without --resume")
        stream = path.open("r+b")
        try:
            _lock(stream, path)
            trials, found, complete = read_lines(path)
            differing = [key for key in {*fingerprint, *found} if fingerprint.get(key) != found.get(key)]
            if differing:
                raise SearchError(
                    f"{path} belongs to another search: {', '.join(sorted(differing))} changed; undo the change, or "
                    "start anew without --resume"
                )
            _keep_damaged(path, complete)
            stream.truncate(complete)
            stream.seek(complete)
        except BaseException:
            stream.close()
            raise
        return cls(path, trials, stream)

    def append(self, trial: Trial) -> None:
        """Write a trial; when this returns it outlives this process. The disk is told with the first trial that comes a
        second after the last time, so a loss of power may cost one or two.
        """
        self._write(trial_to_row(trial))
        self.trials.append(trial)

    def close(self) -> None:
        """Close the file."""
        self._sync()
        self._stream.close()

    def __enter__(self) -> TrialLog:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _write(self, row: Mapping[str, Any]) -> None:
        self._stream.write(json.dumps(row).encode() + b"\n")
        self._stream.flush()
        if time.monotonic() - self._synced > SYNC_SECONDS:
            self._sync()

    def _sync(self) -> None:
        os.fsync(self._stream.fileno())
        self._synced = time.monotonic()


def require_unused(path: Path) -> None:
    """Raise SearchError where another process is writing the log at `path`."""
    if path.exists():
        with path.open("rb") as stream:
            _lock(stream, path)


def _lock(stream: BinaryIO, path: Path) -> None:
    """Hold the file until it is closed or the process ends; raises SearchError where another process does."""
    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        stream.close()
        raise SearchError(f"{path} is in use: that search is still running; choose another --project") from error


def read_lines(path: Path) -> tuple[list[Trial], dict[str, Any], int]:
    """The trials and the fingerprint of a log, and how many of its bytes hold them.

    A last line that was cut off (the process was killed while writing) is left out, and so is all from a line on that
    is damaged; a warning says so.
    """
    data = path.read_bytes()
    complete = data.rfind(b"\n") + 1
    if complete < len(data):
        logger.warning("%s: the last line was cut off; that trial will be measured again", path)
    if not complete:
        raise SearchError(f"{path} holds no trial yet; start anew without --resume")
    header, *lines = data[:complete].split(b"\n")[:-1]
    try:
        fingerprint = dict(json.loads(header)["fingerprint"])
    except DAMAGES as error:
        raise SearchError(
            f"{path} is no trial log, or its first line is damaged; start anew without --resume"
        ) from error
    trials: list[Trial] = []
    sound = len(header) + 1
    for number, line in enumerate(lines):
        try:
            trial = row_to_trial(json.loads(line))
            if trial.number != number:
                raise ValueError(f"trial {trial.number} where {number} belongs: a line is missing")
        except DAMAGES as error:
            logger.warning(
                "%s: line %d is damaged (%s); the %d trials before it are used", path, number + 2, error, number
            )
            return trials, fingerprint, sound
        trials.append(trial)
        sound += len(line) + 1
    return trials, fingerprint, complete


def _keep_damaged(path: Path, sound: int) -> None:
    """Copy a log of which more than the last line is cut off beside it, so that nothing is lost."""
    data = path.read_bytes()
    if data[sound:].count(b"\n"):
        _keep(path, data)


def _keep(path: Path, data: bytes) -> None:
    """Write the damaged content of a log to a new file beside it."""
    names = (f"{path.name}.damaged{'' if number == 0 else f'-{number}'}" for number in count())
    copy = next(path.with_name(name) for name in names if not path.with_name(name).exists())
    write_whole(copy, data)
    logger.warning("the whole file is kept as %s", copy)


def drop_damaged_lines(path: Path) -> None:
    """Rewrite a log whose trials do not rest on each other without its damaged lines; they stay in a copy beside it.

    A log whose first line is damaged is left as it is. Raises SearchError where another process is writing it.
    """
    require_unused(path)
    data = path.read_bytes()
    header, *lines = data[: data.rfind(b"\n") + 1].split(b"\n")[:-1] or [b""]
    trials: list[Trial] = []
    try:
        _ = json.loads(header)["fingerprint"]
    except DAMAGES:
        return
    for line in lines:
        with suppress(*DAMAGES):
            trials.append(replace(row_to_trial(json.loads(line)), number=len(trials)))
    if len(trials) < len(lines):
        logger.warning(
            "%s: %d of %d lines are damaged; all others are used", path, len(lines) - len(trials), len(lines)
        )
        _keep(path, data)
        rows = (json.dumps(trial_to_row(trial)).encode() for trial in trials)
        write_whole(path, b"\n".join([header, *rows, b""]))


def read_header(path: Path) -> dict[str, Any]:
    """The first line of a log; raises SearchError where it is none."""
    try:
        with path.open("rb") as stream:
            header: dict[str, Any] = json.loads(stream.readline())
        _ = header["fingerprint"]
    except DAMAGES as error:
        raise SearchError(f"{path} is no log of a search, or its first line is damaged") from error
    return header


def trial_to_row(trial: Trial) -> dict[str, Any]:
    """A trial as a line of the log."""
    row: dict[str, Any] = {
        "number": trial.number,
        "point": dict(trial.point),
        "software_metrics": dict(trial.software_metrics),
        "hardware_metrics": dict(trial.hardware_metrics),
        "scaled_metrics": dict(trial.scaled_metrics),
        "seconds": round(trial.seconds, 6),
    }
    optional = {name: getattr(trial, name) for name in ("failed", "inherited") if getattr(trial, name)}
    optional |= {name: getattr(trial, name) for name in ("repeats", "stopped_at") if getattr(trial, name) is not None}
    return row | optional


def row_to_trial(row: Mapping[str, Any]) -> Trial:
    """A line of the log as a trial; raises one of `DAMAGES` for one that is none."""
    if isinstance(row["seconds"], bool) or not isfinite(row["seconds"]):
        raise ValueError(f"trial {row['number']} has no number for seconds")
    for name, kind in (("failed", str), ("inherited", str), ("repeats", int), ("stopped_at", int)):
        if not isinstance(row.get(name), kind | None):
            raise TypeError(f"trial {row['number']} has {row[name]!r} for {name}")
    for name in ("software_metrics", "hardware_metrics", "scaled_metrics", "point"):
        wrong = [
            key
            for key, value in row[name].items()
            if isinstance(value, bool) or not isinstance(value, int | float) or not isfinite(value)
        ]
        if wrong:
            raise ValueError(f"trial {row['number']} has no number for {wrong[0]}")
    return Trial(
        number=row["number"],
        point=row["point"],
        software_metrics=row["software_metrics"],
        hardware_metrics=row["hardware_metrics"],
        scaled_metrics=row["scaled_metrics"],
        seconds=row["seconds"],
        repeats=row.get("repeats"),
        failed=row.get("failed", ""),
        stopped_at=row.get("stopped_at"),
        inherited=row.get("inherited", ""),
    )
