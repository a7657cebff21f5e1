"""Names the combinations of values that a node has no choice of, though its lists hold them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

WHOLE = ""
"""In place of an operand: all that the keys of the whole node lead to."""


@dataclass(frozen=True)
class LeftOut:
    """Combinations of values, each for an operand, the weight transforms, or all of the node (`WHOLE`).

    Two are the same where they say the same, wherever their values are in the lists.

    >>> own = LeftOut(frozenset({LeftOut.key("weight", {"name": "log", "weight_width": 4})}))
    >>> own.has("weight", {"weight_width": 4, "name": "log"}), own.has("bias", {"name": "log"}), bool(LeftOut())
    (True, False, False)
    """

    keys: frozenset[tuple[str, str]] = frozenset()

    @staticmethod
    def key(operand: str, config: Mapping[str, Any]) -> tuple[str, str]:
        """The name of a combination."""
        return operand, json.dumps(config, sort_keys=True, default=repr)

    def has(self, operand: str, config: Mapping[str, Any]) -> bool:
        """Whether a combination of values is left out."""
        return bool(self.keys) and self.key(operand, config) in self.keys

    def __bool__(self) -> bool:
        return bool(self.keys)

    def __or__(self, other: LeftOut) -> LeftOut:
        return LeftOut(self.keys | other.keys)


NOTHING_LEFT_OUT = LeftOut()
