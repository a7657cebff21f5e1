"""Checks the settings of early stopping (`ladder`) against the samples of a search."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from chop.actions.search.settings.tables import RunnerChoice
from chop.actions.search.strategies.runners.base import RUNNERS
from chop.config.typed import Problem
from chop.dataset.data import Data

IMPROBABLE = 6.0
"""Standard deviations: what no random draw of samples shows."""


def ladder_problems(
    ladder: Sequence[int],
    runners: Sequence[RunnerChoice],
    strategy_options: Any,
    eval_mode: bool,
    data_module: Data | None,
) -> list[Problem]:
    """The problems of `setup.ladder` for the runners that trials need; paths start below `setup`.

    `data_module` (None: unknown) has the samples.
    """
    if not ladder:
        return []
    messages = [] if list(ladder) == sorted(set(ladder)) else [f"must ascend, got {list(ladder)}"]
    for runner in runners:
        if RUNNERS[runner.name].one_by_one:
            what = "run the model itself" if RUNNERS[runner.name].needs == "model" else "measure on all samples"
            messages.append(
                f"'{runner.name}' must {what}, which no part of the samples replaces; remove the ladder, "
                "or its metrics from the objectives and constraints (then the best networks are measured)"
            )
    climbing = [runner for runner in runners if RUNNERS[runner.name].needs == "outputs"]
    if not climbing:
        messages.append("no runner measures on samples (as basic_evaluation does), so there is nothing to stop early")
    if not eval_mode:
        messages.append("in training mode (eval_mode = false) samples depend on each other; remove one of the two")
    if getattr(strategy_options, "landscape", False):
        messages.append("landscape = true needs every point on all samples; remove one of the two")
    messages += [message for runner in climbing if (message := _row_problem(ladder, runner, data_module))]
    return [Problem(("ladder",), message) for message in messages]


def _row_problem(ladder: Sequence[int], runner: RunnerChoice, data_module: Data | None) -> str | None:
    """The problem of the rungs as subsets of a runner's samples."""
    part, rows = runner.options.data_loader, runner.options.num_samples
    targets = None
    if data_module is not None:
        targets = torch.cat([y for _, y in data_module.batches(part, rows)])
        rows = len(targets)
    if rows is not None and max(ladder) >= rows:
        return f"must stay below the {rows:,} samples that '{runner.name}' measures on, got {max(ladder):,}"
    if targets is not None and not all(stands_for_all(targets, rung) for rung in ladder):
        return (
            f"the first samples of '{runner.name}' have other shares of the classes than all {rows:,}, so they do "
            "not represent the rest; are the samples sorted by class? Shuffle them"
        )
    return None


def stands_for_all(targets: Tensor, seen: int) -> bool:
    """Whether the first `seen` of integer `targets` `(samples,)` may be a random sample, by their classes.

    Pearson's chi-squared with the finite-population correction, as a normal deviate (Wilson and Hilferty, PNAS 17,
    1931, 684-688). Targets of any other kind are not judged.
    """
    if targets.ndim != 1 or targets.is_floating_point():
        return True
    _, labels, total = torch.unique(targets, return_inverse=True, return_counts=True)
    expected = total.double() * seen / len(targets)
    freedom = len(total) - 1
    if freedom == 0:
        return True
    drawn = torch.bincount(labels[:seen], minlength=len(total)).double()
    squares = float(((drawn - expected) ** 2 / expected).sum()) / (1 - seen / len(targets))
    deviate: float = ((squares / freedom) ** (1 / 3) - (1 - 2 / (9 * freedom))) / (2 / (9 * freedom)) ** 0.5
    return deviate < IMPROBABLE
