"""Whether a ladder of sample sizes makes sense for a search."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from chop.actions.search.strategies.runners.base import RUNNERS
from chop.config.typed import Problem

if TYPE_CHECKING:
    from chop.actions.search.settings import RunnerChoice


def ladder_problems(
    ladder: Sequence[int], runners: Sequence[RunnerChoice], strategy_options: Any, eval_mode: bool, data_module: Any
) -> list[Problem]:
    """What is wrong with `setup.ladder`; paths start below `setup`. `data_module` (None: unknown) has the rows."""
    if not ladder:
        return []
    messages = [] if list(ladder) == sorted(set(ladder)) else [f"must ascend, got {list(ladder)}"]
    for runner in runners:
        if RUNNERS[runner.name].kind == "model-run":
            messages.append(
                f"'{runner.name}' must run the model itself, which no part of the rows replaces; remove the ladder or "
                "that runner"
            )
    climbing = [runner for runner in runners if RUNNERS[runner.name].kind == "output-based"]
    if not climbing:
        messages.append("no runner measures on rows (as basic_evaluation does), so there is nothing to cut short")
    if not eval_mode:
        messages.append("in training mode (eval_mode = false) rows depend on each other; remove one of the two")
    if getattr(strategy_options, "landscape", False):
        messages.append("landscape = true needs every point on all rows; remove one of the two")
    messages += [message for runner in climbing if (message := _too_long(ladder, runner, data_module))]
    return [Problem(("ladder",), message) for message in messages]


def _too_long(ladder: Sequence[int], runner: RunnerChoice, data_module: Any) -> str | None:
    """The message on a rung that is not below the number of rows of a runner."""
    part, rows = runner.options.data_loader, runner.options.num_samples
    if data_module is not None:
        rows = sum(len(y) for _, y in data_module.batches(part, rows))
    if rows is None or max(ladder) < rows:
        return None
    return f"must stay below the {rows:,} rows that '{runner.name}' measures on, got {max(ladder):,}"
