"""Finds samples that hold NaN or infinity: whatever a network computes of them mostly means nothing."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from chop.dataset.rows import Batch, take
from chop.tools.counted_samples import counted_samples
from chop.tools.logger import get_logger
from chop.tools.model_inputs import tensors_of

logger = get_logger(__name__)


def warn_of_missing_values(batches: Iterable[Batch], part: str) -> None:
    """Warn where the inputs of a set, batch by batch, hold NaN or plus infinity; minus infinity may be a mask."""
    if told := missing_values(batches, part)[0]:
        logger.warning("%s", told)


def missing_values(batches: Iterable[Batch], part: str) -> tuple[str, Any]:
    """What is wrong with the inputs of a set, with the cure, and the first sample with NaN or plus infinity, twice.

    An empty text and None for a set without such samples.
    """
    found: list[Tensor] = []
    first = None
    for x, y in batches:
        wrong = _wrong_samples(x)
        found.append(torch.zeros(len(y), dtype=torch.bool) if wrong is None else wrong)
        if first is None and bool(found[-1].any()):
            first = take(x, found[-1].nonzero()[:1, 0].repeat(2))  # some models take no batch of one
    if first is None:
        return "", None
    counted = counted_samples(torch.cat(found))
    return f"the {part} set holds NaN or infinity in {counted}: leave them out, or replace these values", first


def _wrong_samples(x: Any) -> Tensor | None:
    """Whether each sample of a batch holds such a value; None for inputs without samples of real numbers."""
    of_all = [tensor for tensor in tensors_of(x).values() if tensor.ndim]
    found = [
        (own.isnan() | (own == math.inf)).flatten(1).any(1) if own.ndim > 1 else own.isnan() | (own == math.inf)
        for own in of_all
        if own.is_floating_point()
    ]
    return torch.stack(found).any(0) if found else None
