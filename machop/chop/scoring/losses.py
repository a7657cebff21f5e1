"""Computes the loss of each sample, token or pixel, and its mean."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from chop.errors import ChopError
from chop.scoring.accumulator import Accumulator
from chop.scoring.bounds import SampleValues
from chop.scoring.class_scores import class_scores
from chop.scoring.intervals import Interval, bootstrap_interval, mean_interval
from chop.scoring.kept_outputs import KeptOutputs
from chop.scoring.labels import UNLABELLED
from chop.scoring.metric import Loss
from chop.scoring.own_functions import call_loss


def per_sample_loss(predictions: Tensor, targets: Tensor, loss: Loss | None = None) -> Tensor:
    """The loss of each sample, `(samples,)`; without a loss of the data's own, cross entropy.

    Samples without a label (`UNLABELLED`) are left out; of targets for tokens or pixels each that has a label counts
    for itself. A loss that returns one number for all samples counts as the loss of each of them.
    """
    if loss is None:
        return F.cross_entropy(*labelled_rows(predictions, targets), reduction="none")
    values = call_loss(loss, predictions, targets)
    if not values.ndim:
        return values.expand(len(targets))
    return _of_labelled(values, targets)[0]


class MeanLoss(Accumulator):
    """`loss`: the mean over samples, or over all tokens or pixels that have a label.

    Without a `loss` of the data's own it is cross entropy. A loss that returns one number for all samples is called
    once, on all outputs, which `kept` then keeps.
    """

    def __init__(self, loss: Loss | None, kept: KeptOutputs) -> None:
        self.loss = loss
        self._kept = kept
        self._is_one_number: bool | None = None if loss is not None else False
        self._targets_each = 1
        self._means: list[Tensor] = []
        self._counts: list[Tensor | None] = []

    def update(self, outputs: Tensor, targets: Tensor) -> None:
        if self._is_one_number:
            return
        if self.loss is None:
            self.take(*labelled_rows(outputs, targets), targets)
            return
        found = call_loss(self.loss, outputs, targets)
        if self._is_one_number is None:
            self._is_one_number = not found.ndim and _returns_one_number(self.loss, outputs, targets)
            self._kept.is_needed |= self._is_one_number
        if not self._is_one_number:
            self._keep(*_means(*_of_labelled(found if found.ndim else found.reshape(1), targets)), targets)

    def take(self, scores: Tensor, classes: Tensor, targets: Tensor) -> None:
        """`update` without a loss of the data's own, for the `labelled_rows` of outputs and `targets`."""
        has_label = targets != UNLABELLED if targets.ndim > 1 else None
        self._keep(*_means(F.cross_entropy(scores, classes, reduction="none"), has_label), targets)

    def _keep(self, means: Tensor, counts: Tensor | None, targets: Tensor) -> None:
        self._targets_each = math.prod(targets.shape[1:])
        self._means.append(means)
        self._counts.append(counts)

    def result(self) -> dict[str, float]:
        if self._is_one_number:
            return {"loss": float(per_sample_loss(*self._kept.joined(), self.loss).mean(dtype=torch.float64))}
        counts = self._all_counts()
        means = torch.cat(self._means) if len(self._means) > 1 else self._means[0]
        return {"loss": float(means.mean(dtype=torch.float64)) if counts is None else _weighted(means, counts)}

    def intervals(self) -> dict[str, Interval]:
        if self._is_one_number:
            assert self.loss is not None
            return {"loss": self._kept.interval(self.loss, "loss")}
        means, counts = torch.cat(self._means).double(), self._all_counts()
        if counts is None:
            return {"loss": mean_interval(means)}
        value = self.result()["loss"]
        drawn = bootstrap_interval(value, "loss", len(means), lambda rows: _weighted(means[rows], counts[rows]))
        return {"loss": drawn}

    def sample_values(self) -> dict[str, SampleValues]:
        if self._is_one_number:
            return {}
        means, counts = torch.cat(self._means), self._all_counts()
        if counts is None:
            return {"loss": SampleValues(means)}
        return {"loss": SampleValues(means.double() * counts, weights_of=labels_of_each)}

    @property
    def keeps_outputs(self) -> bool:
        return bool(self._is_one_number)

    def _all_counts(self) -> Tensor | None:
        """How many targets of each sample have a label; None where each sample counts the same."""
        if all(counts is None for counts in self._counts):
            return None
        pairs = zip(self._means, self._counts, strict=True)
        whole = [torch.full_like(means, self._targets_each).long() if own is None else own for means, own in pairs]
        return torch.cat(whole)


def labels_of_each(targets: Tensor) -> Tensor:
    """The number of labelled targets of each sample, `(samples,)`."""
    return (targets != UNLABELLED).reshape(len(targets), -1).sum(1)


def _returns_one_number(loss: Loss, outputs: Tensor, targets: Tensor) -> bool:
    """Whether a loss that returns one number for these samples does so for several."""
    if len(targets) > 1:
        return True
    return call_loss(loss, outputs.repeat_interleave(2, 0), targets.repeat_interleave(2, 0)).ndim == 0


def labelled_rows(outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """`class_scores` for a cross entropy; raises ChopError for targets that are floating-point numbers."""
    if targets.is_floating_point():
        raise ChopError(
            "the targets are no classes and the data has no loss; let it return a loss, for example "
            "torch.nn.BCEWithLogitsLoss() for several labels a sample, or torch.nn.MSELoss() for numbers, or targets "
            "that are whole numbers (y.long()); --task regression takes the squared error"
        )
    return class_scores(outputs, targets)


def _of_labelled(values: Tensor, targets: Tensor) -> tuple[Tensor, Tensor | None]:
    """The losses that count, and for each target of several whether it does; None: one loss for each sample."""
    ignored = _ignored(values, targets)
    if ignored is not None:
        return values[~ignored], ~ignored if targets.ndim > 1 else None
    if values.numel() == len(targets):
        return values.reshape(len(targets)), None
    return values.reshape(len(targets), -1).mean(1), None


def _ignored(values: Tensor, targets: Tensor) -> Tensor | None:
    """Where a loss leaves out what has no label: it is 0 there. None where nothing is left out."""
    if targets.dtype is not torch.int64 or values.shape != targets.shape:
        return None
    unlabelled = targets == UNLABELLED
    return unlabelled if unlabelled.any() and not values[unlabelled].any() else None


def _means(values: Tensor, has_label: Tensor | None) -> tuple[Tensor, Tensor | None]:
    """The mean loss of each sample and how many targets it is of; losses of targets lie one after the other."""
    if has_label is None:
        return values.detach(), None
    counts = has_label.reshape(len(has_label), -1).sum(1)
    sample = torch.arange(len(counts), device=counts.device).repeat_interleave(counts)
    sums = torch.zeros(len(counts), dtype=torch.float64, device=values.device)
    return sums.index_add_(0, sample, values.detach().double()) / counts.clamp(min=1), counts


def _weighted(means: Tensor, counts: Tensor) -> float:
    return float((means.double() * counts).sum() / counts.sum())
