"""Starts an executor at once where the user names it, and else after the work has taken long enough for that to pay."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator

from chop.executors.base import Executor, Item, Jobs, Result
from chop.executors.remaining import Remaining

SECONDS_ALONE = 5.0
"""Patience of most work: other processes take about as long to start."""


class PatientExecutor(Executor):
    """Makes all calls by the executor that `jobs` names.

    Where they name none, calls are made in this process for `patience` seconds, and the following ones by `jobs`; the
    last item of a batch is not worth a start.
    """

    def __init__(self, jobs: Jobs, patience: float) -> None:
        super().__init__(jobs.count)
        self._jobs = jobs
        self._patience = patience
        self._executor: Executor | None = None
        self.seconds = 0.0
        """Spent on calls in this process."""

    @property
    def is_named(self) -> bool:
        """Whether the user names the executor, which makes all calls then."""
        return self._jobs.executor is not None

    @property
    def has_started(self) -> bool:
        """Whether the other executor has been given any work."""
        return self._executor is not None

    def map(self, call: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[tuple[int, Result]]:
        remaining = Remaining(items)
        while remaining.are_at_least(1):
            if self._should_share(remaining):
                yield from self._shared(call, remaining)
            else:
                place, item = remaining.take()
                started = time.monotonic()
                result = call(item)
                self.seconds += time.monotonic() - started
                yield place, result

    def _should_share(self, remaining: Remaining[Item]) -> bool:
        if self._jobs.name == "local":
            return False
        if self.is_named:
            return True
        return self.seconds >= self._patience and remaining.are_at_least(2)

    def _shared(self, call: Callable[[Item], Result], remaining: Remaining[Item]) -> Iterator[tuple[int, Result]]:
        if self._executor is None:
            self._executor = self._jobs.new_executor()
        first = remaining.place
        for offset, result in self._executor.map(call, remaining.items()):
            yield first + offset, result

    def close(self, at_once: bool = False) -> None:
        if self._executor is not None:
            self._executor.close(at_once)
