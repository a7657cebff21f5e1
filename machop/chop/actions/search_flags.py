"""The values of the table `[search]` that the command line of `ch search` sets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_args

from chop.config.overrides import SEARCH, Override
from chop.errors import ConfigError
from chop.scoring.metric import Direction

METRICS = (SEARCH, "strategy", "metrics")
OBJECTIVE_KEYS = ("scale", "direction")


@dataclass(frozen=True)
class SearchFlags:
    """What the user gave on the command line; None, and an empty sequence, where it was nothing.

    `metrics` are `NAME` or `NAME=maximize`.
    """

    n_trials: int | None = None
    strategy_name: str | None = None
    metrics: Sequence[str] = ()
    finish_epochs: int | None = None
    target: str | None = None

    def overrides(self, tables: Mapping[str, Any]) -> list[Override]:
        """The values with their places in the tables of a file; raises ConfigError for those that cannot be read."""
        found = []
        for flag, path, value in (
            ("--n-trials", ("strategy", "setup", "n_trials"), self.n_trials),
            ("--strategy-name", ("strategy", "name"), self.strategy_name),
            ("--finish-epochs", ("finish", "max_epochs"), self.finish_epochs),
            ("--for", ("search_space", "setup", "export_to"), self.target),
        ):
            if value is not None:
                found.append(Override(flag, (SEARCH, *path), value))
        return [*found, *(_objectives(self.metrics, tables) if self.metrics else [])]


def _objectives(given: Sequence[str], tables: Mapping[str, Any]) -> list[Override]:
    """The values that make the given metrics the only objectives: bounds of all metrics stay."""
    in_file = _metrics_of(tables)
    found: list[Override] = []
    for metric in given:
        name, equals, direction = metric.partition("=")
        if not name or (equals and direction not in get_args(Direction)):
            expected = ", ".join(["NAME", *(f"NAME={way}" for way in get_args(Direction))])
            raise ConfigError([f"command line: --metric {metric}: expected one of {expected}"])
        known = in_file.pop(name, {})
        if equals:
            found.append(Override(f"--metric {metric}", (*METRICS, name, "direction"), direction))
        elif not (isinstance(known, Mapping) and set(known) & set(OBJECTIVE_KEYS)):
            found.append(Override(f"--metric {metric}", (*METRICS, name, "scale"), 1.0))
    for name, table in in_file.items():
        if isinstance(table, Mapping) and not set(table) - set(OBJECTIVE_KEYS):
            found.append(Override("--metric", (*METRICS, name), None))
        elif isinstance(table, Mapping):
            found += [Override("--metric", (*METRICS, name, key), None) for key in OBJECTIVE_KEYS if key in table]
    return found


def _metrics_of(tables: Mapping[str, Any]) -> dict[str, Any]:
    """The table of metrics in a file; an empty one where it is missing or no table."""
    table: Any = tables
    for key in METRICS:
        table = table.get(key, {}) if isinstance(table, Mapping) else {}
    return dict(table) if isinstance(table, Mapping) else {}
