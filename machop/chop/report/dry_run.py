"""Shows what a search would do, before it runs: nodes and choices, points, goals, and estimates of time and memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from chop.tools.terminal import print_sentence, table_of, terminal
from chop.tools.whole_numbers import readable

MIB = 2**20


@dataclass(frozen=True)
class NodePlan:
    """A node of the network: its op, and its lists of choices by key."""

    name: str
    op: str
    choices: Mapping[str, Sequence[Any]]


@dataclass(frozen=True)
class DryRun:
    """The plan of a search before it runs; None where a number is not known beforehand.

    `seconds` are those of one point, from `timed` points that were measured in this process; `resident` and `budget`
    are bytes: of the process after that, and of the values under way at the most.
    """

    nodes: tuple[NodePlan, ...]
    points: int
    strategy: str
    trials: int | None
    timeout: float | None
    objectives: tuple[str, ...]
    constraints: tuple[str, ...]
    samples: tuple[str, ...]
    timed: int
    seconds: float | None
    jobs: int
    resident: int
    budget: int


def print_dry_run(found: DryRun) -> None:
    """Show a dry run on standard output."""
    console = terminal()
    rows = [(node.name, node.op, lists_of(node.choices)) for node in found.nodes]
    console.print(table_of(("node", "op", "choices"), rows, box=None, pad_edge=False, header_style="bold"))
    for line in lines_of(found):
        print_sentence(console, line)


def lists_of(choices: Mapping[str, Sequence[Any]]) -> str:
    """The lists of choices of a node in a line; "float32" for one without formats.

    >>> lists_of({"name": ["integer"], "weight_width": [2, 4]}), lists_of({"name": ["NA"], "weight_width": [2]})
    ('name integer; weight_width 2, 4', 'float32')
    """
    if set(choices.get("name", ())) <= {"NA", None} and not any(len(values) > 1 for values in choices.values()):
        return "float32"
    return "; ".join(f"{key} {', '.join(map(str, values))}" for key, values in choices.items())


def lines_of(found: DryRun) -> list[str]:
    """The facts and estimates below the table, in lines."""
    trials = "as many trials as it takes" if found.trials is None else f"at most {found.trials:,} trials"
    time_limit = f", at most {duration(found.timeout)}" if found.timeout is not None else ""
    return [
        f"Space: {readable(found.points)} points",
        f"Strategy: {found.strategy}, {trials}{time_limit}",
        f"Objectives: {', '.join(found.objectives)}",
        *([f"Constraints: {', '.join(found.constraints)}"] if found.constraints else []),
        *(f"Samples: {line}" for line in found.samples),
        _time(found),
        f"Memory: {found.resident / MIB:,.0f} MiB for this process after that; values under way take at most "
        f"{found.budget / MIB:,.0f} MiB (setup.memory_mib)",
        "Nothing was written.",
    ]


def _time(found: DryRun) -> str:
    if found.seconds is None:
        return "Time: not estimated, because the trials are snapshots of a training"
    measured = f"{found.timed:,} points took {duration(found.timed * found.seconds)} to measure"
    if found.trials is None:
        return f"Time: {measured}"
    total = found.trials * found.seconds
    shared = f"; setup.n_jobs = {found.jobs} shares that" if found.jobs > 1 else ""
    capped = (
        f", cut short by the timeout of {duration(found.timeout)}" if found.timeout and total > found.timeout else ""
    )
    return (
        f"Time: about {duration(total)} to measure {found.trials:,} trials{capped} ({measured}){shared}. The strategy "
        "itself, and the last measurements on the test set, come on top"
    )


def duration(seconds: float) -> str:
    """Seconds in the unit that suits.

    >>> [duration(seconds) for seconds in (0.0123, 2.5, 90, 5400, 200_000)]
    ['12 ms', '2.5 s', '90 s', '90 min', '56 h']
    """
    for limit, size, unit, decimals in ((1, 1e-3, "ms", 0), (10, 1, "s", 1), (120, 1, "s", 0), (7200, 60, "min", 0)):
        if seconds < limit:
            return f"{seconds / size:.{decimals}f} {unit}"
    return f"{seconds / 3600:.0f} h"
