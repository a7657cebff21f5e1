"""Names the samples that a search measures on, for reports and pictures."""

from __future__ import annotations

from chop.actions.search.measuring.runner_set import RunnerSet
from chop.dataset.data import Data

PARTS = {"train_dataloader": "training", "val_dataloader": "validation", "test_dataloader": "test"}


def measured_samples(runners: RunnerSet, data: Data) -> dict[str, list[str]]:
    """The samples of the runners that trials need, as `512 validation samples`, with the metrics of each."""
    found: dict[str, list[str]] = {}
    for runner in runners.needed:
        if hasattr(runner.options, "data_loader"):
            most = getattr(runner.options, "eval_samples", getattr(runner.options, "num_samples", None))
            part = runner.options.data_loader
            count = sum(len(targets) for _, targets in data.batches(part, most))
            found.setdefault(f"{count:,} {PARTS.get(part, part)} samples", []).extend(m.name for m in runner.metrics)
    return found
