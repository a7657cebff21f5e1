"""Loss and accuracies of predictions, with 95 % intervals."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from chop.errors import ChopError, MetricError
from chop.scoring.class_scores import class_scores
from chop.scoring.labels import LABELS_OF_BYTES, UNLABELLED
from chop.scoring.own_functions import call_loss, call_metric, on_one_shape
from chop.tools.logger import get_logger

logger = get_logger(__name__)

Counts = np.ndarray[Any, Any]
"""By class."""

Loss = Callable[[Tensor, Tensor], Tensor]
Interval = tuple[float, float, float]
"""A value, and the bounds of its 95 % interval, which are no numbers where there is none."""

Z = 1.959964
"""The 97.5 % quantile of the normal distribution."""
RESAMPLES = 200

LEAST_ROWS = 10
"""Rows below which means and resamples say nothing of how far a figure may be off."""


def score(
    predictions: Tensor,
    targets: Tensor,
    data_module_loss: Loss | None = None,
    metrics: Mapping[str, tuple[Any, str]] | None = None,
    num_classes: int | None = None,
) -> dict[str, float]:
    """`loss` (mean per sample), for classes `accuracy` (macro) and `accuracy_micro`, and the metrics of the data.

    Raises ChopError where predictions are no `(rows, classes)` or a loss of the data fails, MetricError where a metric
    of the data does.
    """
    classes = _of_classes(predictions, targets, num_classes) if num_classes is not None else None
    scores = {"loss": float(per_sample_loss(predictions, targets, data_module_loss).mean(dtype=torch.float64))}
    if classes is not None:
        right, rows = _hits(*classes)
        scores["accuracy"] = _macro(*_recalls(right, rows))
        scores["accuracy_micro"] = _micro(right, rows)
    failure: MetricError | None = None
    for name, (function, _) in (metrics or {}).items():
        try:
            scores[name] = call_metric(function, name, predictions, targets)
        except MetricError as error:
            failure = failure or error
    if failure:
        raise MetricError(str(failure), scores) from failure
    return scores


def score_with_intervals(
    predictions: Tensor,
    targets: Tensor,
    data_module_loss: Loss | None = None,
    metrics: Mapping[str, tuple[Any, str]] | None = None,
    num_classes: int | None = None,
) -> dict[str, Interval]:
    """What `score` gives, as `(value, low, high)` with the bounds of the 95 % interval.

    Normal for the mean loss, Wilson's for `accuracy_micro` (doi:10.1080/01621459.1927.10502953), normal over the
    classes for `accuracy`, percentile bootstrap with 200 resamples for the metrics of the data and for a loss that
    gives one number for all rows. Without an interval are a mean or a bootstrap of fewer than 10 rows, and what is no
    finite number. Raises what `score` raises.
    """
    accuracies = _accuracy_intervals(predictions, targets, num_classes) if num_classes is not None else {}
    found = {"loss": _loss_interval(predictions, targets, data_module_loss), **accuracies}
    for name, (function, _) in (metrics or {}).items():
        found[name] = _bootstrap_interval(function, name, predictions, targets)
    return found


def per_sample_loss(predictions: Tensor, targets: Tensor, loss: Loss | None = None) -> Tensor:
    """The loss of each sample, `(samples,)`; without a loss of the data's own, cross entropy.

    Samples without a label (`UNLABELLED`) are left out; of targets for tokens or pixels each that has a label counts
    for itself. A loss that returns one number for all samples counts as the loss of each of them.
    """
    if loss is None:
        if targets.is_floating_point():
            raise ChopError(
                "the targets are no classes and the data has no loss; let it return a loss, for example "
                "torch.nn.BCEWithLogitsLoss() for several labels a sample, or torch.nn.MSELoss() for numbers, or "
                "targets that are whole numbers (y.long())"
            )
        return F.cross_entropy(*class_scores(predictions, targets), reduction="none")
    values = call_loss(loss, predictions, targets)
    if not values.ndim:
        return values.expand(len(targets))
    ignored = _ignored(values, targets)
    if ignored is not None:
        return values[~ignored]
    return values if values.shape == (len(targets),) else values.reshape(len(targets), -1).mean(1)


def accuracy_micro(predictions: Tensor, targets: Tensor) -> float:
    """The share of samples whose greatest score stands at the target; of equal scores the first counts."""
    return _micro(*_hits(*class_scores(predictions, targets)))


def accuracy_macro(predictions: Tensor, targets: Tensor) -> float:
    """The mean over classes of the share of their samples that are right: the default of torchmetrics'
    MulticlassAccuracy.

    As there, a class with no sample counts 0 if it was predicted and is left out if it was not.
    """
    return _macro(*_recalls(*_hits(*class_scores(predictions, targets))))


def wilson_interval(successes: int, trials: int) -> Interval:
    """A proportion and the bounds of Wilson's 95 % score interval.

    >>> [round(x, 3) for x in wilson_interval(72, 100)]
    [0.72, 0.625, 0.799]
    """
    share = successes / trials
    centre = (share + Z**2 / (2 * trials)) / (1 + Z**2 / trials)
    half = Z / (1 + Z**2 / trials) * math.sqrt(share * (1 - share) / trials + Z**2 / (4 * trials**2))
    return share, centre - half, centre + half


def _micro(right: Counts, rows: Counts) -> float:
    return int(right.sum()) / int(rows.sum()) if rows.sum() else math.nan


def _macro(recalls: Counts, rows: Counts) -> float:
    # Recalls are float32, as torchmetrics has them; their sum in float64 is exact, so its order plays no part.
    return float(recalls.sum(dtype=np.float64)) / len(rows)


def _hits(predictions: Tensor, targets: Tensor) -> tuple[Counts, Counts]:
    """Of each class how many of its rows are right, and how many it has; no rows for one that was but predicted, and
    none of the others that have no rows.
    """
    predicted, classes = predictions.argmax(1), predictions.shape[1]
    counts = torch.bincount(torch.add(predicted == targets, targets, alpha=2), minlength=2 * classes)
    right = counts.cpu().numpy()[1::2]
    rows = counts.cpu().numpy()[::2] + right
    if rows.all():
        return right, rows
    present = rows + np.bincount(predicted.cpu().numpy(), minlength=classes) > 0
    return right[present], rows[present]


def _recalls(right: Counts, rows: Counts) -> tuple[Counts, Counts]:
    """The share of each class's rows that is right (float32, as torchmetrics has it), and its rows."""
    return right.astype(np.float32) / np.maximum(rows, 1).astype(np.float32), rows


def _of_classes(predictions: Tensor, targets: Tensor, num_classes: int) -> tuple[Tensor, Tensor]:
    """`class_scores`, which must be of all classes of the data."""
    if targets.ndim == 1 and (predictions.ndim != 2 or predictions.shape[1] < num_classes):
        last = num_classes - 1
        cure = f"ignore_index = {last} if {last} means no label, or " if last in LABELS_OF_BYTES else ""
        raise ChopError(
            f"the data has {num_classes} classes, but the model gives {tuple(predictions.shape)} where (samples, "
            f"classes) belongs; let the data return {cure}num_classes = None and a loss if whole numbers are no "
            "classes here"
        )
    scores, classes = class_scores(predictions, targets)
    if scores.shape[1] < num_classes:
        raise ChopError(f"the data has {num_classes} classes, but the model gives scores of {scores.shape[1]}")
    return scores, classes


def _ignored(values: Tensor, targets: Tensor) -> Tensor | None:
    """Where a loss leaves out what has no label: it is 0 there. None where nothing is left out."""
    if targets.dtype is not torch.int64 or values.shape != targets.shape:
        return None
    unlabelled = targets == UNLABELLED
    return unlabelled if unlabelled.any() and not values[unlabelled].any() else None


def _loss_interval(predictions: Tensor, targets: Tensor, loss: Loss | None) -> Interval:
    is_one_number = loss is not None and call_loss(loss, predictions, targets).ndim == 0
    if not is_one_number and targets.ndim == 1:
        return _mean_interval(per_sample_loss(predictions, targets, loss).double())
    values = per_sample_loss(predictions, targets, loss)
    if not is_one_number and len(values) == len(targets):
        return _mean_interval(values.double())

    def mean_loss(p: Tensor, y: Tensor) -> float:
        return float(per_sample_loss(p, y, loss).mean(dtype=torch.float64))

    return _bootstrap_interval(loss if is_one_number else mean_loss, "loss", predictions, targets)


def _accuracy_intervals(predictions: Tensor, targets: Tensor, num_classes: int) -> dict[str, Interval]:
    if targets.ndim > 1:  # tokens or pixels of one sample depend on each other: whole samples are drawn
        measures = {"accuracy": accuracy_macro, "accuracy_micro": accuracy_micro}
        _of_classes(predictions, targets, num_classes)
        return {name: _bootstrap_interval(own, name, predictions, targets) for name, own in measures.items()}
    right, rows = _hits(*_of_classes(predictions, targets, num_classes))
    micro = wilson_interval(int(right.sum()), int(rows.sum()))
    return {"accuracy": _macro_interval(*_recalls(right, rows)), "accuracy_micro": micro}


def _mean_interval(values: Tensor) -> Interval:
    mean = float(values.mean())
    half = Z * float(values.std()) / math.sqrt(len(values)) if len(values) >= LEAST_ROWS else math.nan
    return mean, mean - half, mean + half


def _macro_interval(recalls: Counts, rows: Counts) -> Interval:
    """The classes are strata: the variances of their recalls (two rows right and two wrong added) add up."""
    mean = _macro(recalls, rows)
    shares, counts = (recalls.astype(np.float64) * rows + 2) / (rows + 4), rows + 4
    half = Z * math.sqrt(float((shares * (1 - shares) / counts).sum())) / len(recalls)
    return mean, max(0.0, mean - half), min(1.0, mean + half)


def _bootstrap_interval(function: Any, name: str, predictions: Tensor, targets: Tensor) -> Interval:
    value = call_metric(function, name, predictions, targets)
    if len(targets) < LEAST_ROWS or not math.isfinite(value):
        return value, math.nan, math.nan
    generator = torch.Generator().manual_seed(0)
    drawn = [torch.randint(len(targets), (len(targets),), generator=generator) for _ in range(RESAMPLES)]
    found = [_call_or_nan(function, predictions[rows], targets[rows]) for rows in drawn]
    values = torch.tensor([one for one in found if math.isfinite(one)]).double()
    if len(values) < RESAMPLES / 2:
        logger.warning("%s: no interval, since it has no value for most resamples of the rows", name)
        return value, math.nan, math.nan
    low, high = torch.quantile(values, torch.tensor([0.025, 0.975]).double()).tolist()
    return value, low, high


def _call_or_nan(function: Any, predictions: Tensor, targets: Tensor) -> float:
    """A metric of drawn rows, which may lack what it needs (a row of each class, say)."""
    try:
        return float(on_one_shape(function, "metric", predictions, targets))
    except Exception:
        return math.nan
