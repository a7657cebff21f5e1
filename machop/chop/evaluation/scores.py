"""Loss and accuracies of predictions, with 95 % intervals."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from chop.errors import ChopError, MetricError
from chop.ir.graph.inputs import to_device
from chop.tools.get_input import call_model
from chop.tools.logger import get_logger
from chop.tools.user_code import place_in

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


@torch.no_grad()
def predict(model: nn.Module, batches: Iterable[tuple[Any, Tensor]], device: str = "cpu") -> tuple[Tensor, Tensor]:
    """The model's outputs for all rows, `(rows, *output)`, and the targets."""
    pairs = [(call_model(model, to_device(x, device)), y.to(device)) for x, y in batches]
    return torch.cat([prediction for prediction, _ in pairs]), torch.cat([y for _, y in pairs])


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
    _check_classes(predictions, num_classes)
    scores = {"loss": float(per_sample_loss(predictions, targets, data_module_loss).mean(dtype=torch.float64))}
    if num_classes is not None:
        right, rows = _hits(predictions, targets)
        scores["accuracy"] = _macro(*_recalls(right, rows))
        scores["accuracy_micro"] = int(right.sum()) / len(targets)
    failure: MetricError | None = None
    for name, (function, _) in (metrics or {}).items():
        try:
            scores[name] = _call(function, name, predictions, targets)
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
    _check_classes(predictions, num_classes)
    found = {"loss": _loss_interval(predictions, targets, data_module_loss)}
    if num_classes is not None:
        right, rows = _hits(predictions, targets)
        found["accuracy"] = _macro_interval(*_recalls(right, rows))
        found["accuracy_micro"] = wilson_interval(int(right.sum()), len(targets))
    for name, (function, _) in (metrics or {}).items():
        found[name] = _bootstrap_interval(function, name, predictions, targets)
    return found


def interval_as_json(interval: Interval) -> dict[str, float | None]:
    """A value with its interval as files have it."""
    value, low, high = (number if math.isfinite(number) else None for number in interval)
    return {"value": value, "low_95": low, "high_95": high}


def per_sample_loss(predictions: Tensor, targets: Tensor, loss: Loss | None = None) -> Tensor:
    """The loss of each row, `(rows,)`; without a loss of the data's own, cross entropy.

    A loss that gives one number for all rows counts as the loss of each of them.
    """
    if loss is None:
        if targets.is_floating_point():
            raise ChopError("the targets are no classes and the data has no loss; let it return loss(predictions, y)")
        values = F.cross_entropy(predictions, targets, reduction="none")
    else:
        values = _own_loss(loss, predictions, targets)
    if not values.ndim:
        return values.expand(len(targets))
    return values if values.shape == (len(targets),) else values.reshape(len(targets), -1).mean(1)


def accuracy_micro(predictions: Tensor, targets: Tensor) -> float:
    """The share of rows whose greatest score stands at the target; of equal scores the first counts."""
    return int(_hits(predictions, targets)[0].sum()) / len(targets)


def accuracy_macro(predictions: Tensor, targets: Tensor) -> float:
    """The mean over classes of the share of their rows that are right: the default of torchmetrics' MulticlassAccuracy.

    As there, a class with no row counts 0 if it was predicted and is left out if it was not.
    """
    return _macro(*_recalls(*_hits(predictions, targets)))


def wilson_interval(successes: int, trials: int) -> Interval:
    """A proportion and the bounds of Wilson's 95 % score interval.

    >>> [round(x, 3) for x in wilson_interval(72, 100)]
    [0.72, 0.625, 0.799]
    """
    share = successes / trials
    centre = (share + Z**2 / (2 * trials)) / (1 + Z**2 / trials)
    half = Z / (1 + Z**2 / trials) * math.sqrt(share * (1 - share) / trials + Z**2 / (4 * trials**2))
    return share, centre - half, centre + half


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


def _check_classes(predictions: Tensor, num_classes: int | None) -> None:
    if num_classes is not None and (predictions.ndim != 2 or predictions.shape[1] < num_classes):
        raise ChopError(
            f"the data has {num_classes} classes, but the model gives {tuple(predictions.shape)} where (rows, classes) "
            "belongs; if whole numbers are no classes here, let the data return num_classes = None and a loss"
        )


def _own_loss(loss: Loss, predictions: Tensor, targets: Tensor) -> Tensor:
    found: Tensor = _called(loss, "loss", predictions, targets)
    return found


def _loss_interval(predictions: Tensor, targets: Tensor, loss: Loss | None) -> Interval:
    if loss is not None and _own_loss(loss, predictions, targets).ndim == 0:
        return _bootstrap_interval(loss, "loss", predictions, targets)
    return _mean_interval(per_sample_loss(predictions, targets, loss).double())


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
    value = _call(function, name, predictions, targets)
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
        return float(function(predictions, targets))
    except Exception:
        return math.nan


def _call(function: Any, name: str, predictions: Tensor, targets: Tensor) -> float:
    found = _called(function, f"metric '{name}'", predictions, targets, MetricError)
    try:
        if isinstance(found, str):
            raise TypeError
        return float(found)
    except (TypeError, ValueError, RuntimeError, OverflowError):
        what = tuple(found.shape) if isinstance(found, Tensor) else repr(found)
        raise MetricError(f"the metric '{name}' of the data must give one number for all rows, not {what}") from None


def _called(
    function: Any, name: str, predictions: Tensor, targets: Tensor, failure: type[ChopError] = ChopError
) -> Any:
    """What a function of the user's own gives; raises ChopError where it writes on what others still read, `failure`
    where it fails.
    """
    before = _versions(predictions, targets)
    try:
        found = function(predictions, targets)
    except Exception as error:
        where = place_in(function, error)
        raise failure(f"the {name} of the data failed{where}: {type(error).__name__}: {error}") from error
    if _versions(predictions, targets) != before:
        raise ChopError(
            f"the {name} of the data writes on its arguments (clamp_, +=, …): let it work on copies, x.clone()"
        )
    return found


def _versions(*tensors: Tensor) -> list[int]:
    """How often each was written on, as far as torch counts it."""
    return [0 if tensor.is_inference() else tensor._version for tensor in tensors]
