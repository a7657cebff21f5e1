"""Names the samples that a search measures on, for reports and pictures."""

from __future__ import annotations

from chop.actions.search.measuring.runner_set import RunnerSet
from chop.actions.search.strategies.runners.base import RunnerBase
from chop.dataset.data import Data

PARTS = {"train_dataloader": "training", "val_dataloader": "validation", "test_dataloader": "test"}


def measured_samples(runners: RunnerSet, data: Data) -> dict[str, list[str]]:
    """The samples of the runners that trials need, as `512 validation samples`, with the metrics of each."""
    found: dict[str, list[str]] = {}
    for runner in runners.needed:
        if hasattr(runner.options, "data_loader"):
            count, part = samples_of(runner, data)
            found.setdefault(f"{count:,} {part} samples", []).extend(metric.name for metric in runner.metrics)
    return found


def samples_of(runner: RunnerBase, data: Data) -> tuple[int, str]:
    """How many samples a runner measures on, and of which set; 0 of none where it measures on no samples."""
    part = getattr(runner.options, "data_loader", None)
    if part is None:
        return 0, ""
    most = getattr(runner.options, "eval_samples", getattr(runner.options, "num_samples", None))
    return sum(len(targets) for _, targets in data.batches(part, most)), PARTS.get(part, part)
