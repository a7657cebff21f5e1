"""The log `trials.jsonl`, to which a running search appends: a header line, then one line of JSON per trial."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from math import isfinite
from pathlib import Path
from typing import Any, Self

from chop.errors import SearchError
from chop.record.damage import DAMAGES
from chop.record.differences import told_changes
from chop.record.json_lines import Header, JsonLines, Line, read_header, read_lines
from chop.record.names import TRIALS
from chop.record.trial import Trial
from chop.tools.logger import get_logger

logger = get_logger(__name__)


class TrialLog:
    """The log of trials. Open it with `create` or `resume`; close it, or use it as a context manager."""

    def __init__(self, lines: JsonLines, trials: list[Trial]) -> None:
        self.path = lines.path
        self.trials = trials
        self._lines = lines

    @property
    def identity(self) -> str:
        """The identity of the search, which its other files hold too."""
        return self._lines.header.identity

    @classmethod
    def create(
        cls, path: Path, fingerprint: Mapping[str, Any], about: Mapping[str, Any] | None = None, identity: str = ""
    ) -> TrialLog:
        """A new log; raises SearchError if there is one already, so that nothing is lost.

        `about` is for whoever reads the log without the search: what its numbers mean.
        """
        values = {"fingerprint": dict(fingerprint), **(about or {})}
        return cls(JsonLines.create(path, TRIALS, values, identity), [])

    @classmethod
    def resume(cls, path: Path, fingerprint: Mapping[str, Any], in_order: bool = True) -> TrialLog:
        """An earlier log with its trials, opened to continue it.

        Trials that are `in_order` rest on each other: behind a damaged line none is used. Raises SearchError where
        there is no log, or where it belongs to another search; then it says what differs.
        """
        lines = JsonLines.open(path, TRIALS)
        try:
            _require_same(path, _fingerprint(path, lines.header), fingerprint)
            trials, problem = _sound(path, lines.lines(), in_order)
            lines.go_on(map(trial_to_row, trials), bool(problem))
        except BaseException:
            lines.close()
            raise
        return cls(lines, trials)

    def append(self, trial: Trial) -> None:
        """Write a trial, which then outlives this process. A power failure may lose the last second."""
        self._lines.append(trial_to_row(trial))
        self.trials.append(trial)

    def close(self) -> None:
        """Close the file."""
        self._lines.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


@dataclass(frozen=True)
class LoggedTrials:
    """The content of a log: its header, its sound trials, and the first problem, if a line is damaged."""

    header: Header
    trials: list[Trial]
    problem: str = ""

    @property
    def fingerprint(self) -> Mapping[str, Any]:
        """The fingerprint that a resumed search must match."""
        found: Mapping[str, Any] = self.header.values["fingerprint"]
        return found


def read_trials(path: Path, in_order: bool = True) -> LoggedTrials:
    """Read a log without opening it for writing; a warning names a damaged line.

    Raises SearchError if it is no trial log.
    """
    header = read_header(path, TRIALS)
    _fingerprint(path, header)
    return LoggedTrials(header, *_sound(path, read_lines(path, header), in_order))


def _sound(path: Path, lines: Iterable[Line], in_order: bool) -> tuple[list[Trial], str]:
    """The sound trials, renumbered unless they are `in_order`, and the first problem."""
    trials: list[Trial] = []
    seen: set[int] = set()
    problem = ""
    for line in lines:
        try:
            trial = _trial(line, len(trials) if in_order else None)
        except DAMAGES as error:
            problem = problem or f"line {line.number} is damaged ({error})"
            if in_order:
                break
        else:
            if trial.number not in seen:
                trials.append(replace(trial, number=len(trials)))
            seen.add(trial.number)
    if problem:
        used = f"the {len(trials)} trials before it are used" if in_order else f"the {len(trials)} others are used"
        logger.warning("%s: %s; %s", path, problem, used)
    return trials, problem


def _trial(line: Line, number: int | None) -> Trial:
    if line.problem:
        raise ValueError(line.problem)
    trial = row_to_trial(line.row)
    if number is not None and trial.number != number:
        raise ValueError(f"trial {trial.number} where {number} belongs: a line is missing")
    return trial


def _fingerprint(path: Path, header: Header) -> Mapping[str, Any]:
    found = header.values.get("fingerprint")
    if not isinstance(found, Mapping):
        raise SearchError(f"{path} is no trial log, or its first line is damaged; start anew without --resume")
    return found


def _require_same(path: Path, found: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    differing = sorted(key for key in {*wanted, *found} if wanted.get(key) != found.get(key))
    if differing:
        told = ", ".join(told_changes(key, found.get(key), wanted.get(key)) for key in differing)
        raise SearchError(
            f"{path} belongs to another search: {told} changed, here or in chop; undo the "
            "change, or start anew without --resume"
        )


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
    """A line of the log as a trial; raises one of `DAMAGES` if malformed."""
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
