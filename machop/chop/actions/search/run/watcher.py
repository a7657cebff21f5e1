"""Reports on a running search beside its progress bar."""

from __future__ import annotations

from chop.record.trial import Trial


class Watcher:
    """Is told each trial, or how many points of an exhaustive search are measured; this one ignores it."""

    def on_trial(self, trial: Trial) -> None:
        """A trial is in the log: a new one, or one that a resumed search found there."""

    def on_points(self, points: int, of_all: int, front: int) -> None:
        """So many points are measured block by block, and so many of them make up the front."""
