"""Brings scores and targets of classes into one form: a row for each sample, token or pixel with a label."""

from __future__ import annotations

import torch
from torch import Tensor

from chop.errors import ChopError
from chop.scoring.labels import UNLABELLED


def class_scores(predictions: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """`(rows, classes)` scores and `(rows,)` int64 targets, one row per label.

    From `(samples, classes)` and `(samples,)`, or from targets `(samples, …)` with the classes after the samples
    (torch's convention) or last (that of language models).

    Rows whose target is `UNLABELLED` are left out. Raises ChopError for any other shapes, and for targets that the
    outputs have no class for.
    """
    scores = predictions if (predictions.ndim, targets.ndim) == (2, 1) else _classes_last(predictions, targets)
    classes = targets.flatten() if targets.dtype is torch.int64 else _whole(targets).flatten()
    if len(scores) != len(classes):
        raise ChopError(_other_shapes(predictions, targets))
    if not len(classes):
        return scores, classes
    low, high = (int(end) for end in classes.aminmax())
    if low == UNLABELLED:
        rows = classes != UNLABELLED
        return class_scores(scores[rows], classes[rows])
    if low < 0 or high >= scores.shape[1]:
        raise ChopError(
            f"a target is {low if low < 0 else high}, but the model gives {tuple(predictions.shape)}, scores of "
            f"classes 0 to {scores.shape[1] - 1}; correct the model's outputs or the targets "
            "(numbers that are no classes belong to the task 'regression')"
        )
    return scores, classes


def _whole(targets: Tensor) -> Tensor:
    """Targets that are whole numbers as int64."""
    if targets.is_floating_point() and not bool((targets == targets.round()).all()):
        raise ChopError("the data states num_classes, but its targets are no whole numbers; let it return classes")
    return targets.long()


def _classes_last(predictions: Tensor, targets: Tensor) -> Tensor:
    """`(rows, classes)` of outputs that have scores for several targets of each sample."""
    if predictions.ndim != targets.ndim + 1 or targets.ndim < 2:
        raise ChopError(_other_shapes(predictions, targets))
    are_last = predictions.shape[:-1] == targets.shape
    are_second = (len(predictions), *predictions.shape[2:]) == tuple(targets.shape)
    if are_last == are_second:
        raise ChopError(_other_shapes(predictions, targets, "both" if are_last else ""))
    return (predictions if are_last else predictions.movedim(1, -1)).flatten(0, -2)


def _other_shapes(predictions: Tensor, targets: Tensor, which: str = "") -> str:
    told = f"the model gives {tuple(predictions.shape)} for targets {tuple(targets.shape)}"
    if which:
        return f"{told}: the classes may be the second or the last dimension; let the data return a loss that knows"
    if predictions.shape == targets.shape:
        return (
            f"{told}: where each sample has several labels, or whole numbers are no classes, let the data return "
            "y.float() and a loss, for example torch.nn.BCEWithLogitsLoss() for labels of 0 and 1"
        )
    return (
        f"{told}: scores of classes are (samples, classes) for (samples,), or (samples, …, classes) or (samples, "
        "classes, …) for (samples, …); if whole numbers are no classes here, let the data return num_classes = None "
        "and a loss"
    )
