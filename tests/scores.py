"""Outputs of a model for all samples at once, and their scores, by the parts of which commands are made."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from chop.evaluation.predictions import Batches, stream
from chop.scoring.accumulator import Accumulator
from chop.scoring.intervals import Interval
from chop.scoring.metric import Loss, UserMetric
from chop.scoring.outputs import joined_outputs
from chop.scoring.task import DEFAULT_TASK, task_of
from chop.tools.model_outputs import OutputName


def predict(model: nn.Module, batches: Batches, output: OutputName = None) -> tuple[Tensor, Tensor]:
    """The model's outputs for all samples, `(samples, *output)`, and the targets."""
    pairs = list(stream(model, batches, output=output))
    targets = [y for _, y in pairs]
    return joined_outputs([found for found, _ in pairs], [*map(len, targets)]), torch.cat(targets)


def score(
    predictions: Tensor,
    targets: Tensor,
    data_module_loss: Loss | None = None,
    metrics: Mapping[str, UserMetric] | None = None,
    num_classes: int | None = None,
) -> dict[str, float]:
    """`loss` (mean per sample), for classes `accuracy` (macro) and `accuracy_micro`, and the metrics of the data.

    Raises ChopError where predictions are no `(samples, classes)` or a loss of the data fails, MetricError where a
    metric of the data does.
    """
    return _of_all(predictions, targets, data_module_loss, metrics, num_classes, by_sample=False).result()


def score_with_intervals(
    predictions: Tensor,
    targets: Tensor,
    data_module_loss: Loss | None = None,
    metrics: Mapping[str, UserMetric] | None = None,
    num_classes: int | None = None,
) -> dict[str, Interval]:
    """The result of `score` as `(value, low, high)` with the bounds of the 95 % interval.

    Normal for the mean loss, Wilson's for `accuracy_micro`, normal over the classes for `accuracy`, percentile
    bootstrap with 200 resamples for the metrics of the data, for a loss that gives one number for all samples, and for
    targets of tokens or pixels. Without an interval are a mean or a bootstrap of fewer than 10 samples, and what is no
    finite number. Raises what `score` raises.
    """
    return _of_all(predictions, targets, data_module_loss, metrics, num_classes, by_sample=True).intervals()


def _of_all(
    predictions: Tensor,
    targets: Tensor,
    loss: Loss | None,
    metrics: Mapping[str, UserMetric] | None,
    num_classes: int | None,
    by_sample: bool,
) -> Accumulator:
    found = task_of(DEFAULT_TASK, num_classes, loss, metrics).accumulator(by_sample)
    found.update(predictions, targets)
    return found
