"""Prints a search for programs: one line of JSON for each trial, and one at the end."""

from __future__ import annotations

import json
from typing import Any

from chop.actions.search.run.publish import SearchResult
from chop.actions.search.run.watcher import Watcher
from chop.record.trial import BestRow, Trial


class TrialLines(Watcher):
    """Prints each trial of a search, or the number of measured points, as a line of JSON on standard output."""

    def on_trial(self, trial: Trial) -> None:
        """Print a trial with its metrics, and whether it repeats another, failed, or was stopped early."""
        told: dict[str, Any] = {"event": "trial", "trial": trial.number, "metrics": trial.metrics}
        more = {"repeats": trial.repeats, "failed": trial.failed or None, "stopped_at": trial.stopped_at}
        _print({**told, **{key: value for key, value in more.items() if value is not None}})

    def on_points(self, points: int, of_all: int, front: int) -> None:
        """Print how many points of how many have been measured, and how many of them are on the front."""
        _print({"event": "points", "points": points, "of": of_all, "front": front})


def print_end(result: SearchResult) -> None:
    """Print the end of a search: why it ended, its folder, and the best networks."""
    best = [_best(row) for row in result.best]
    _print({"event": "end", "reason": result.reason, "folder": str(result.folder), "best": best})


def _best(row: BestRow) -> dict[str, Any]:
    tested = {name: value for name, (value, *_) in (row.test_metrics or {}).items()}
    return {"trial": row.trial.number, "metrics": row.trial.metrics, "test_metrics": tested}


def _print(line: dict[str, Any]) -> None:
    print(json.dumps(line), flush=True)  # noqa: T201 - the answer to the command
