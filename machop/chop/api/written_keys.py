"""Leaves keys without effect out of a space, where nobody wrote them for the layers that do not read them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from chop.actions.search.search_space.patterns import broken_pattern, matching
from chop.actions.search.search_space.transform_choices import idle_choices_problem
from chop.nn.node_config import effect_problem, split_key
from chop.nn.ops import Op
from chop.passes.graph.node_selection import select_entries

Entries = Mapping[str, Any]


@dataclass(frozen=True)
class WrittenKeys:
    """The keys that a caller wrote: once for all layers, for those of each seed, and for those of each override.

    All others were made of arguments such as `widths`, which are for every operand.
    """

    for_all: frozenset[str]
    for_seed: Mapping[str, Collection[str]]
    for_override: Mapping[str, Collection[str]]

    def argument(self, table: str, entry: str, key: str) -> str:
        """The argument of `Space` that made the `key` of an entry of a table ("seed" or "override")."""
        room, written = {"seed": ("layers", self.for_seed), "override": ("overrides", self.for_override)}[table]
        parameter = (split_key(key) or ("", key))[1]
        for name in ("name", "formats") if key == "name" else (key, parameter, "widths", "formats"):
            if name in written.get(entry, ()):
                return f"{room}[{entry!r}][{name!r}]"
            if name in self.for_all:
                return name
        return f"{room}[{entry!r}][{key!r}]"

    def fitted(
        self, seed: Entries, override: Entries, by: str, nodes: Mapping[str, Op]
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Seeds and overrides without the keys that none of their nodes reads.

        Two kinds of such keys stay, so that they are reported as errors: those written for these layers alone, and
        those written for all layers that no layer reads.
        """
        chosen = select_entries(seed, by, nodes)
        served = {key: [nodes[name] for name, own in chosen.items() if own == key] for key in seed}
        sound = [pattern for pattern in override if broken_pattern(pattern) is None]
        matched = {pattern: [nodes[name] for name in matching([pattern], nodes)] for pattern in sound}
        lists = {entry: own["config"] for entry, own in seed.items()}
        unread = {key for key in self.for_all if not any(_reads(key, served[entry], lists[entry]) for entry in seed)}
        return _fitted(seed, self.for_seed, served, unread), _fitted(override, self.for_override, matched, ())


def _fitted(
    entries: Entries,
    written: Mapping[str, Collection[str]],
    served: Mapping[str, Sequence[Op]],
    kept: Collection[str],
) -> dict[str, Any]:
    """Entries without the keys that no op in `served` reads, but for those in `kept` and the `written` ones."""

    def stays(entry: str, key: str) -> bool:
        ops = served.get(entry, ())
        is_asked_for = key in kept or key in written.get(entry, ())
        return not ops or is_asked_for or _reads(key, ops, entries[entry]["config"])

    return {
        entry: {"config": {key: values for key, values in own["config"].items() if stays(entry, key)}}
        for entry, own in entries.items()
    }


def _reads(key: str, ops: Sequence[Op], lists: Mapping[str, list[Any]]) -> bool:
    return any(effect_problem(key, op) is None for op in ops) and idle_choices_problem(key, lists) is None
