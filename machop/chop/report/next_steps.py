"""Says at the end of a search which command takes its best network away."""

from __future__ import annotations

import shlex
from pathlib import Path

from chop.record.folder import SearchFolder
from chop.record.names import SEARCH_FOLDER
from chop.record.summary import SearchSummary
from chop.record.trial import BestRow
from chop.report.commands import with_own_code

SHARE = 0.01
"""The share of the first objective's best value that a cheaper network may lack."""


def next_commands(summary: SearchSummary, folder: Path) -> list[str]:
    """The command that exports one network of a search for a target; nothing for a search without one."""
    if not summary.exporter or not summary.origin.command:
        return []
    words = ["ch", "export", str(_run(folder)), "--trial", str(_choice(summary).trial.number), "--to", summary.exporter]
    return [with_own_code(shlex.join(words), SearchFolder(folder), summary.origin.command)]


def _choice(summary: SearchSummary) -> BestRow:
    """The network that is best by the other objectives, among those within 1 % of the best by the first."""
    first, *others = summary.goals.objectives
    costs = [first.turn * row.trial.metrics[first.metric] for row in summary.best]
    most = min(costs) + SHARE * abs(min(costs))
    near = [row for row, cost in zip(summary.best, costs, strict=True) if cost <= most]
    order = [*others, first]
    return min(near, key=lambda row: [own.turn * row.trial.metrics[own.metric] for own in order])


def _run(folder: Path) -> Path:
    """A search's folder as `ch export` takes it: that of the project, where it has its usual name."""
    is_usual = folder.name == SEARCH_FOLDER and len(folder.parents) > 2
    return folder.parents[1] if is_usual else folder
