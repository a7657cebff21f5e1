"""An SQLite file in which slow runners keep metrics from one search to the next."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from chop.errors import SearchError

SECONDS_TO_WAIT = 60.0
"""For another process that writes."""


class KeptResults:
    """Metrics by key, in an SQLite file that several processes and searches may use at once."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)

    def get(self, key: str) -> dict[str, float] | None:
        """The metrics of a key; None where there are none. Raises SearchError for a file that is not of this kind."""
        with self._opened() as file:
            row = file.execute("SELECT metrics FROM results WHERE key = ?", (key,)).fetchone()
            return None if row is None else {str(name): float(value) for name, value in json.loads(row[0]).items()}

    def put(self, key: str, metrics: Mapping[str, float]) -> None:
        """Keep the metrics of a key, on the disk when this returns."""
        with self._opened() as file:
            file.execute("INSERT OR REPLACE INTO results VALUES (?, ?)", (key, json.dumps(dict(metrics))))

    @contextmanager
    def _opened(self) -> Iterator[sqlite3.Connection]:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            file = sqlite3.connect(self.path, timeout=SECONDS_TO_WAIT)
            try:
                with file:
                    file.execute("CREATE TABLE IF NOT EXISTS results (key TEXT PRIMARY KEY, metrics TEXT NOT NULL)")
                    yield file
            finally:
                file.close()
        except (sqlite3.Error, OSError, ValueError, AttributeError) as error:
            raise SearchError(
                f"{self.path} keeps no results of runners that can be read ({error}); remove it, or name another file"
            ) from error
