"""What a report says of networks that were tuned after the search."""

from __future__ import annotations

from chop.record.names import FINISHED_FOLDER
from chop.record.summary import SearchSummary


def tuned_names(summary: SearchSummary) -> list[str]:
    """The metrics of objectives and constraints that tuning has changed in some network of the front."""
    rows = [row for row in summary.best if row.finished]
    names = summary.goals.metrics
    return [name for name in names if any(row.trial.metrics[name] != row.searched.metrics[name] for row in rows)]


def finish_facts(summary: SearchSummary) -> list[str]:
    """How many networks were tuned, how, and what became of the front."""
    finish = summary.finish
    if finish is None:
        return []
    tuned = [row for row in summary.best if row.finished]
    epochs = [*finish.options["ladder"], finish.options["max_epochs"]]
    told = f"{' or '.join(map(str, epochs))} epoch{'' if epochs == [1] else 's'}"
    count = len(finish.trials)
    weights = "its own weights" if summary.of_training else "the weights of the search"
    graphs = f"Their graphs: {FINISHED_FOLDER}; " if summary.origin.command else ""
    line = (
        f"Tuned: {count} network{'' if count == 1 else 's'}, each for {told} from {weights}; "
        f"{len(tuned)} of the {len(summary.best)} best are tuned, {len(finish.before)} were best before. {graphs}"
    )
    if tuned_names(summary):
        empty = " (empty: not tuned)" if len(tuned) < len(summary.best) else ""
        line += f"'untuned' columns: the same network as the search measured it{empty}."
    line = line.removesuffix("; ").strip()
    left = finish.wanted - count
    short = f"{left} of {finish.wanted} networks are not tuned: tuning was interrupted, or they have no metrics."
    if finish.missing:
        short = f"Tuning was interrupted: {finish.missing} are missing, and what follows them; --resume goes on."
    return [line, *([short] if left or finish.missing else [])]
