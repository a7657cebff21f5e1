"""The items that are left to do, each with its index; read from their source as late as possible."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Generic

from chop.executors.base import Item


class Remaining(Generic[Item]):
    """The items that are still to be done, each with its place."""

    def __init__(self, items: Iterable[Item]) -> None:
        self._coming = enumerate(items)
        self._ready: deque[tuple[int, Item]] = deque()

    def are_at_least(self, count: int) -> bool:
        """Whether there are so many."""
        self._ready.extend(islice(self._coming, max(0, count - len(self._ready))))
        return len(self._ready) >= count

    @property
    def next_item(self) -> Item:
        """The item that is taken next; there must be one."""
        return self._ready[0][1]

    @property
    def place(self) -> int:
        """The place of the item that is taken next; there must be one."""
        return self._ready[0][0]

    def take(self) -> tuple[int, Item]:
        """The next item with its place."""
        return self._ready.popleft()

    def put_back(self, taken: tuple[int, Item]) -> None:
        """Let an item that was not finished come before all others."""
        self._ready.appendleft(taken)

    def items(self) -> Iterator[Item]:
        """All that remain, taken one after the other."""
        while self.are_at_least(1):
            yield self.take()[1]
