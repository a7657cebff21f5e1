"""Computes accuracies from counts of hits by class."""

from __future__ import annotations

import math
from ctypes import c_float
from typing import Any

import numpy as np
import torch
from torch import Tensor

from chop.errors import ChopError
from chop.scoring.accumulator import Accumulator
from chop.scoring.bounds import SampleValues
from chop.scoring.class_scores import class_scores
from chop.scoring.intervals import Interval, Z, bootstrap_interval, wilson_interval
from chop.scoring.labels import LABELS_OF_BYTES, UNLABELLED

Counts = np.ndarray[Any, Any]
"""By class."""

MOST_PLAIN_CLASSES, MOST_PLAIN_COUNTS = 32, 2**20
"""Classes and targets up to which plain numbers take less time than arrays, and sums of recalls are exact in both."""

RIGHT, WRONG, PREDICTED = 0, 1, 2
"""Counts of each class: its targets that were predicted right, its other targets, and its predictions."""


class ClassHits(Accumulator):
    """`accuracy` (macro) and `accuracy_micro`, of targets for samples, tokens or pixels.

    Of equal scores the first counts. The macro average is the mean over classes of the share of correct samples. As in
    torchmetrics' MulticlassAccuracy, a class with no sample counts 0 if it was predicted and is left out if it was not.

    `num_classes` is what the data state; the model must score that many. `by_sample` keeps the hits of each sample,
    which intervals of tokens and pixels, and early stopping, need.
    """

    def __init__(self, num_classes: int | None, by_sample: bool = False) -> None:
        self.num_classes = num_classes
        self._by_sample = by_sample
        self._samples = 0
        self._has_several_targets = False
        self._totals: Tensor | None = None
        self._hits: list[Tensor] = []
        self._sparse: list[tuple[Tensor, Tensor]] = []

    def update(self, outputs: Tensor, targets: Tensor) -> None:
        self.require_classes(outputs, targets)
        self.take(*class_scores(outputs, targets), targets)

    def require_classes(self, outputs: Tensor, targets: Tensor) -> None:
        """Raise ChopError for outputs that are no scores of all classes of the data."""
        if self.num_classes is not None:
            _require_classes(outputs, targets, self.num_classes)

    def take(self, scores: Tensor, classes: Tensor, targets: Tensor) -> None:
        """`update` for the `class_scores` of outputs and `targets`."""
        if self.num_classes is not None and scores.shape[1] < self.num_classes:
            raise ChopError(f"the data has {self.num_classes} classes, but the model gives scores of {scores.shape[1]}")
        predicted = scores.argmax(1)
        counts = _counted(predicted, classes, scores.shape[1])
        self._totals = counts if self._totals is None else self._totals + counts
        self._has_several_targets = targets.ndim > 1
        if self._by_sample and self._has_several_targets:
            self._keep_by_sample(predicted, classes, targets, scores.shape[1])
        elif self._by_sample:
            self._hits.append(predicted == classes)
        self._samples += len(targets)

    def _keep_by_sample(self, predicted: Tensor, classes: Tensor, targets: Tensor, size: int) -> None:
        """Add the counts of each sample, as (number of sample and of count, how many)."""
        labels = (targets != UNLABELLED).reshape(len(targets), -1).sum(1)
        sample = torch.arange(len(targets), device=targets.device).repeat_interleave(labels) + self._samples
        of_target = torch.where(predicted == classes, RIGHT, WRONG) * size + classes
        places = torch.cat([of_target, PREDICTED * size + predicted]) + 3 * size * torch.cat([sample, sample])
        self._sparse.append(torch.unique(places, return_counts=True))

    def result(self) -> dict[str, float]:
        return self.metrics(self._numbers())

    def metrics(self, counts: Counts) -> dict[str, float]:
        """The metrics from counts `(3, classes)`."""
        accuracy, accuracy_micro = _both(counts)
        return {"accuracy": accuracy, "accuracy_micro": accuracy_micro}

    def intervals(self) -> dict[str, Interval]:
        if self._has_several_targets:  # tokens or pixels of one sample depend on each other: whole samples are drawn
            return self._bootstrapped()
        counts = self._numbers()
        right, rows = _present(counts)
        own = {
            "accuracy": _macro_interval(right, rows),
            "accuracy_micro": wilson_interval(int(right.sum()), int(rows.sum())),
        }
        return {**super().intervals(), **own}

    def sample_values(self) -> dict[str, SampleValues]:
        hits = torch.cat(self._hits) if self._hits else torch.empty(0)
        if len(hits) != self._samples or self._totals is None:
            return {}
        return {
            "accuracy": SampleValues(hits, is_hit=True, classes=self._totals.shape[1]),
            "accuracy_micro": SampleValues(hits, is_hit=True),
        }

    def _bootstrapped(self) -> dict[str, Interval]:
        places = torch.cat([places for places, _ in self._sparse])
        counts = torch.cat([counts for _, counts in self._sparse]).double()
        cells = self._numbers().size
        sample, cell = places // cells, places % cells

        def of_drawn(rows: Tensor) -> dict[str, float]:
            times = torch.bincount(rows.to(sample.device), minlength=self._samples)[sample]
            drawn = torch.bincount(cell, weights=counts * times, minlength=cells)
            return self.metrics(drawn.reshape(3, -1).round().long().cpu().numpy())

        def interval(name: str, value: float) -> Interval:
            return bootstrap_interval(value, name, self._samples, lambda rows: of_drawn(rows)[name])

        return {name: interval(name, value) for name, value in self.result().items()}

    def _numbers(self) -> Counts:
        assert self._totals is not None, "update comes before result"
        numbers: Counts = self._totals.numpy(force=True)
        return numbers


def _both(counts: Counts) -> tuple[float, float]:
    """Macro and micro average; of few classes by plain numbers, for arrays of a few numbers take ten times as long."""
    if counts.shape[1] <= MOST_PLAIN_CLASSES:
        found = _of_plain_numbers(*counts.tolist())
        if found is not None:
            return found
    right, rows = _present(counts)
    return _macro(right, rows), _micro(right, rows)


def _of_plain_numbers(right: list[int], wrong: list[int], predicted: list[int]) -> tuple[float, float] | None:
    """Macro and micro average, to the bit as of arrays; None for so many targets that they may differ."""
    all_right, labelled = sum(right), sum(right) + sum(wrong)
    if labelled > MOST_PLAIN_COUNTS:
        return None
    recalls, present = 0.0, 0
    for hits, misses, guesses in zip(right, wrong, predicted, strict=True):
        if hits + misses + guesses:
            recalls += c_float(hits / ((hits + misses) or 1)).value  # two exact numbers: the quotient rounds as float32
            present += 1
    return recalls / present if present else math.nan, all_right / labelled if labelled else math.nan


def _micro(right: Counts, rows: Counts) -> float:
    """The share of correct targets, from what `_present` returns."""
    labelled = int(rows.sum())
    return int(right.sum()) / labelled if labelled else math.nan


def _macro(right: Counts, rows: Counts) -> float:
    """The mean over classes of the share of correct targets, from what `_present` returns."""
    # Recalls are float32, as torchmetrics has them; their sum in float64 is exact, so its order plays no part.
    return float(_recalls(right, rows).sum(dtype=np.float64)) / len(rows) if len(rows) else math.nan


def mean_iou(counts: Counts) -> float:
    """The mean over classes of intersection over union; classes with no target and no prediction are left out."""
    right, wrong, predicted = counts[:, counts.sum(0) > 0]
    return float((right / (wrong + predicted)).mean())


def _counted(predicted: Tensor, classes: Tensor, size: int) -> Tensor:
    """How often each class was told right, told wrong, and predicted, `(3, classes)`."""
    of_targets = torch.bincount(torch.add(classes, predicted != classes, alpha=size), minlength=2 * size)
    return torch.cat([of_targets, torch.bincount(predicted, minlength=size)]).view(3, size)


def _present(counts: Counts) -> tuple[Counts, Counts]:
    """For each class that occurs, the number of its targets that are right, and the number of its targets.

    A class without targets counts, with zeros, if it was predicted; otherwise it is left out.
    """
    right, rows = counts[RIGHT], counts[RIGHT] + counts[WRONG]
    if rows.all():
        return right, rows
    present = rows + counts[PREDICTED] > 0
    return right[present], rows[present]


def _recalls(right: Counts, rows: Counts) -> Counts:
    """The share of each class's targets that is right (float32, as torchmetrics has it)."""
    recalls: Counts = right.astype(np.float32) / np.maximum(rows, 1).astype(np.float32)
    return recalls


def _macro_interval(right: Counts, rows: Counts) -> Interval:
    """The classes are strata: the variances of their recalls (two samples right and two wrong added) add up."""
    recalls, mean = _recalls(right, rows), _macro(right, rows)
    shares, counts = (recalls.astype(np.float64) * rows + 2) / (rows + 4), rows + 4
    half = Z * math.sqrt(float((shares * (1 - shares) / counts).sum())) / len(recalls)
    return mean, max(0.0, mean - half), min(1.0, mean + half)


def _require_classes(outputs: Tensor, targets: Tensor, num_classes: int) -> None:
    if targets.ndim == 1 and (outputs.ndim != 2 or outputs.shape[1] < num_classes):
        last = num_classes - 1
        cure = f"ignore_index = {last} if {last} means no label, or " if last in LABELS_OF_BYTES else ""
        raise ChopError(
            f"the data has {num_classes} classes, but the model gives {tuple(outputs.shape)} where (samples, "
            f"classes) belongs; let the data return {cure}num_classes = None and a loss if whole numbers are no "
            "classes here"
        )
