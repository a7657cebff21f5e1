"""A cache of computed things, with a bound on its memory."""

from __future__ import annotations

from typing import Any, Generic, TypeVar

Made = TypeVar("Made")


class Kept(Generic[Made]):
    """Things by key; all are dropped when they would take more than `most_bytes`, or are more than `most`."""

    def __init__(self, most_bytes: int, most: int = 4096) -> None:
        self.most_bytes = most_bytes
        self.most = most
        self._made: dict[Any, Made] = {}
        self._bytes = 0

    def get(self, key: Any) -> Made | None:
        """The value for `key`, if it is still cached."""
        return self._made.get(key)

    def put(self, key: Any, made: Made, size: int) -> Made:
        """Cache and return a value that takes about `size` bytes, key included.

        >>> kept = Kept(10)
        >>> kept.put("a", 1, 6), kept.put("b", 2, 6), kept.get("a"), kept.get("b")
        (1, 2, None, 2)
        """
        if len(self._made) >= self.most or self._bytes + size > self.most_bytes:
            self._made.clear()
            self._bytes = 0
        self._made[key] = made
        self._bytes += size
        return made
