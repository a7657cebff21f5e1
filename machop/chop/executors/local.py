"""Makes calls in this process, one after the other."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from chop.executors.base import EXECUTORS, Executor, Item, Result


@EXECUTORS.register("local")
class LocalExecutor(Executor):
    """Makes calls in this process, one after the other."""

    most_jobs = 1

    def map(self, call: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[tuple[int, Result]]:
        for place, item in enumerate(items):
            yield place, call(item)

    def close(self, at_once: bool = False) -> None:
        """Nothing was started."""
