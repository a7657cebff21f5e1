"""Values of the command line that take the place of those in the tables of a TOML file."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from chop.config.key_values import key_path, key_value
from chop.config.typed import KeyPath
from chop.errors import ConfigError

SEARCH = "search"
Tables = Mapping[str, Any]


@dataclass(frozen=True)
class Override:
    """A value for the key `path`, which the user gave with `flag`; None removes the key."""

    flag: str
    path: KeyPath
    value: Any


def overrides_of_pairs(pairs: Sequence[str], tables: Sequence[str], others: Sequence[str]) -> list[Override]:
    """The values that `--set KEY=VALUE` gives, in the tables that a command reads; raises ConfigError for all others.

    A key that does not begin with one of these tables is below the first of them.

    >>> overrides_of_pairs(["passes.quantize.by=type", "strategy.name=random"], ["search", "passes"], [])[1].path
    ('search', 'strategy', 'name')
    """
    found = []
    for pair in pairs:
        key, value = key_value(pair)
        path = key_path(key)
        if path[0] in others and path[0] not in tables:
            raise ConfigError([f"command line: --set {pair}: this command does not read the table {path[0]}"])
        found.append(Override(f"--set {pair}", path if path[0] in tables else (tables[0], *path), value))
    return found


def overridden(
    tables: Tables, overrides: Sequence[Override], earlier: Sequence[Override] = ()
) -> tuple[Tables, list[str]]:
    """The tables with all values in their places, and the problems of those that have none.

    Values that were placed `earlier` must not be given again. Tables on the way to a key are made, but for `search`: a
    file without it is a problem of its own.

    >>> tables = {"search": {"strategy": {"name": "greedy"}}}
    >>> overridden(tables, [Override("--n-trials", ("search", "strategy", "setup", "n_trials"), 3)])
    ({'search': {'strategy': {'name': 'greedy', 'setup': {'n_trials': 3}}}}, [])
    """
    problems = []
    given = {override.path: override.flag for override in earlier}
    for override in overrides:
        flag = given.setdefault(override.path, override.flag)
        where = f"command line: {override.flag}: {'.'.join(override.path)}"
        if flag != override.flag:
            problems.append(f"{where}: is given with {flag} as well")
        elif override.path[0] in tables or override.path[0] != SEARCH:
            try:
                tables = _placed(tables, override.path, override.value)
            except _NoTableError as error:
                problems.append(f"{where}: {error} is no table")
    return tables, problems


def flag_of(path: KeyPath, overrides: Iterable[Override], has_line: bool) -> str | None:
    """The flag that set the key `path`, or a table around it, or one in it where the file has no such key."""
    for override in overrides:
        if override.value is None:
            continue
        own = override.path
        if path[: len(own)] == own or (not has_line and own[: len(path)] == path):
            return override.flag
    return None


class _NoTableError(Exception):
    """The path of a key leads through a value that is no table."""


def _placed(table: Tables, path: KeyPath, value: Any, above: KeyPath = ()) -> dict[str, Any]:
    key, *rest = path
    if not rest:
        return {name: own for name, own in table.items() if name != key} if value is None else {**table, key: value}
    below = table.get(key, {})
    if not isinstance(below, Mapping):
        raise _NoTableError(".".join((*above, key)))
    return {**table, key: _placed(below, tuple(rest), value, (*above, key))}
