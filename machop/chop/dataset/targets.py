"""Brings targets into one form: classes become int64, and samples without a label are marked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from chop.errors import DatasetError
from chop.scoring.labels import UNLABELLED

INFER = -1
"""`num_classes` of data that do not say: found from the targets."""


@dataclass(frozen=True)
class TargetForm:
    """Reads the targets of a data set, depending on whether it has its own loss and states classes.

    `unlabelled` is what means "no label" in its data, and is read as `UNLABELLED`. `are_inputs`: where a batch has no
    targets, they are the tokens that are its input.
    """

    has_loss: bool = False
    num_classes: int | None = INFER
    unlabelled: int = UNLABELLED
    are_inputs: bool = False

    @property
    def are_classes(self) -> bool:
        """Whether the data says that targets are classes, by their number or by leaving the loss to cross entropy."""
        return not self.has_loss or self.num_classes not in (None, INFER)

    def read(self, y: Any, samples: int) -> Tensor:
        """The targets of a batch of so many samples, `(samples, …)`: int64 for integers or classes.

        Without a loss of the data's own `(samples, 1)` is read as `(samples,)`, and False and True as classes 0 and 1.
        Raises DatasetError for what is no tensor, array or list of numbers with a target for each sample.
        """
        found = _as_tensor(y, samples)
        if found.is_complex():
            raise DatasetError(f"the targets are {found.dtype}; let the data set return whole or real numbers")
        if not found.ndim or len(found) != samples:
            raise DatasetError(_wrong_number(tuple(found.shape), samples))
        is_whole = not found.is_floating_point() and (found.dtype is not torch.bool or self.are_classes)
        if is_whole or self._are_classes_in_float(found):
            found = found.long()
            if self.unlabelled != UNLABELLED:
                found = found.masked_fill(found == self.unlabelled, UNLABELLED)
            if not self.has_loss and found.ndim == 2 and found.shape[1] == 1:
                found = found[:, 0]
        return found

    def _are_classes_in_float(self, y: Tensor) -> bool:
        """Whether targets are whole numbers in a floating-point type, and the data says that they are classes."""
        is_stated = self.num_classes not in (None, INFER)
        return not self.has_loss and is_stated and y.is_floating_point() and bool((y == y.round()).all())

    def classes(self, parts: Mapping[str, Sequence[Tensor]]) -> int | None:
        """The number of classes of the targets of all sets; None if they are no classes.

        Raises DatasetError for targets that are none of the classes that the data states.
        """
        targets = [y for part in parts.values() for y in part]
        if self.num_classes == INFER:
            _require_usable(self, parts)
            return infer_classes(targets)
        if self.num_classes is not None:
            for part, own in parts.items():
                _require_classes(own, self.num_classes, part)
        return self.num_classes


def has_unlabelled(y: Tensor) -> bool:
    """Whether integer targets `(samples,)` contain `UNLABELLED`."""
    return y.ndim == 1 and y.dtype is torch.int64 and bool((y == UNLABELLED).any())


def infer_classes(targets: Sequence[Any]) -> int | None:
    """The number of classes if all targets are classes (integers from 0, one per sample, or no label), else None.

    >>> infer_classes([torch.tensor([0, 2]), torch.tensor([1])]), infer_classes([torch.tensor([0.5])])
    (3, None)
    """
    if not all(_may_be_classes(y) for y in targets):
        return None
    labels = torch.cat([y[y != UNLABELLED] for y in targets])
    return int(labels.max()) + 1 if len(labels) and int(labels.min()) >= 0 else None


def _may_be_classes(y: Any) -> bool:
    return (
        isinstance(y, Tensor) and y.ndim == 1 and not (y.dtype is torch.bool or y.is_floating_point() or y.is_complex())
    )


def _require_usable(form: TargetForm, parts: Mapping[str, Sequence[Tensor]]) -> None:
    """Raise DatasetError for negative classes under cross entropy."""
    for part, targets in parts.items() if not form.has_loss else ():
        if all(y.dtype is torch.int64 and bool((y == UNLABELLED).all()) for y in targets):
            raise DatasetError(f"the {part} set has no sample with a label (all targets are {UNLABELLED})")
        for y in (own for own in targets if own.dtype is torch.int64):
            wrong = y[(y < 0) & (y != UNLABELLED)]
            if len(wrong):
                raise DatasetError(
                    f"the {part} set has a target {int(wrong[0])}: classes are whole numbers from 0, and "
                    f"{UNLABELLED} is no label; change it, or let build_data return ignore_index = "
                    f"{int(wrong[0])} if it means no label, or a loss and num_classes = None if these are no classes"
                )


def _require_classes(targets: Sequence[Tensor], num_classes: int, part: str) -> None:
    for y in targets:
        wrong = (
            y[((y < 0) | (y >= num_classes) | (y != y.round())) & (y != UNLABELLED)]
            if y.dtype is not torch.bool
            else y[:0]
        )
        if len(wrong):
            raise DatasetError(
                f"the {part} set has a target {wrong.flatten()[0].item()}, but num_classes = {num_classes} stands for "
                f"classes 0 to {num_classes - 1} ({UNLABELLED} is no label, or what build_data returns as "
                "ignore_index); correct num_classes or the targets"
            )


def _as_tensor(y: Any, samples: int) -> Tensor:
    if isinstance(y, Tensor):
        return (y.to_dense() if y.layout is not torch.strided else y).detach()
    if isinstance(y, (tuple, list)) and y and all(isinstance(own, (Tensor, np.ndarray)) for own in y):
        y = _stacked([torch.as_tensor(own) for own in y], samples)
    if isinstance(y, Mapping) or y is None or isinstance(y, (str, bytes)):
        names = f" with {', '.join(map(repr, y))}" if isinstance(y, Mapping) else ""
        raise DatasetError(
            f"the targets are {'None' if y is None else 'a ' + type(y).__name__ + names}; let the data set return one "
            "tensor of targets, one for each sample"
        )
    try:
        return torch.as_tensor(y if isinstance(y, Tensor) else np.asarray(y))
    except (TypeError, ValueError) as error:
        raise DatasetError(
            f"the targets are a {type(y).__name__} of which no tensor can be made ({error}); let the data set return "
            "numbers"
        ) from None


def _stacked(targets: list[Tensor], samples: int) -> Tensor:
    """One target per sample; raises DatasetError if there may be several targets for all samples."""
    first = targets[0]
    if len(targets) != samples or any(y.shape != first.shape for y in targets) or samples in first.shape[:1]:
        shapes = ", ".join(str(tuple(y.shape)) for y in targets[:3])
        raise DatasetError(
            f"the targets are {len(targets)} tensors ({shapes} …) for {samples} samples; let the data set return one "
            "tensor (samples, …)"
        )
    return torch.stack(targets)


def _wrong_number(shape: tuple[int, ...], samples: int) -> str:
    if not shape:
        return "the targets are one number: single samples come where batches belong; wrap them in a torch DataLoader"
    return (
        f"a batch has {samples} samples but targets {shape}: the first dimension of both is the samples "
        "(batch_first, a collate function or a transpose sees to that)"
    )
