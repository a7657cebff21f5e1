"""Texts for a report on networks that were tuned after the search."""

from __future__ import annotations

from chop.record.names import FINISHED_FOLDER
from chop.record.summary import SearchSummary
from chop.record.trial import BestRow


def tuned_names(summary: SearchSummary) -> list[str]:
    """The metrics that tables show before and after tuning, which also marks the tuned networks.

    These are the metrics of objectives and constraints that tuning has changed in some network of the front, or all
    objectives where it has changed none.
    """
    return _changed(summary) or [own.metric for own in summary.goals.objectives if any(_tuned(summary))]


def _tuned(summary: SearchSummary) -> list[BestRow]:
    return [row for row in summary.best if row.finished]


def _changed(summary: SearchSummary) -> list[str]:
    rows = _tuned(summary)
    return [
        name
        for name in summary.goals.metrics
        if any(row.trial.metrics[name] != row.searched.metrics[name] for row in rows)
    ]


def finish_facts(summary: SearchSummary) -> list[str]:
    """A sentence on how many networks were tuned, how, and how the front changed."""
    finish = summary.finish
    if finish is None:
        return []
    tuned = _tuned(summary)
    epochs = [*finish.options["ladder"], finish.options["max_epochs"]]
    told = f"{' or '.join(map(str, epochs))} epoch{'' if epochs == [1] else 's'}"
    count = len(finish.trials)
    weights = "its own weights" if summary.of_training else "the weights of the search"
    graphs = f"Their graphs: {FINISHED_FOLDER}; " if summary.origin.command else ""
    line = (
        f"Tuned: {count} network{'' if count == 1 else 's'}, each for {told} from {weights}. "
        f"Best networks: {len(finish.before)} before, {len(summary.best)} now, {len(tuned)} of them tuned. {graphs}"
    )
    if tuned_names(summary):
        empty = " (empty: not tuned)" if len(tuned) < len(summary.best) else ""
        line += f"'untuned' columns: the same network as the search measured it{empty}."
        line += "" if _changed(summary) else " Tuning changed none of these figures."
    line = line.removesuffix("; ").strip()
    left = finish.wanted - count
    short = f"{left} of {finish.wanted} networks are not tuned: tuning was interrupted, or they have no metrics."
    if finish.missing:
        short = f"Tuning was interrupted: {finish.missing} are missing, and what follows them; --resume goes on."
    return [line, *([short] if left or finish.missing else [])]
