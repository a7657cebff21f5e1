"""Texts for a report on networks that were tuned after the search."""

from __future__ import annotations

from chop.record.names import FINISHED_FOLDER
from chop.record.summary import FinishFacts, SearchSummary
from chop.record.trial import BestRow


def tuned_names(summary: SearchSummary) -> list[str]:
    """The metrics that tables show before and after tuning: those of the goals that it can change, even if it did not.

    Earlier records do not say which these are: all metrics of the goals.
    """
    if summary.finish is None:
        return []
    changes = summary.finish.changes
    return list(summary.goals.metrics if changes is None else changes)


def _tuned(summary: SearchSummary) -> list[BestRow]:
    return [row for row in summary.best if row.finished]


def _improved(finish: FinishFacts) -> str:
    """A sentence on the networks that tuning made no better; empty where the record does not say how many."""
    if finish.improved is None or not finish.trials:
        return ""
    if not finish.improved:
        return "It made none of them better: try another learning_rate, or more epochs. "
    left = len(finish.trials) - finish.improved
    return f"It made {finish.improved} of them better in some metric of the goals, and {left} in none. "


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
        f"Tuned: {count} network{'' if count == 1 else 's'}, each for {told} from {weights}. {_improved(finish)}"
        f"Best networks: {len(finish.before)} before, {len(summary.best)} now, {len(tuned)} of them tuned. {graphs}"
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
