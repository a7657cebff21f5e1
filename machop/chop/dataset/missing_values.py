"""Tells of samples that hold NaN or infinity: whatever a network computes of them means nothing."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from chop.tools.logger import get_logger
from chop.tools.model_inputs import tensors_of

logger = get_logger(__name__)


def warn_of_missing_values(inputs: Iterable[Any], part: str) -> None:
    """Warn where inputs `x` of a set, batch by batch, hold NaN or plus infinity; minus infinity may be a mask."""
    wrong = torch.cat([found for x in inputs if (found := _wrong_samples(x)) is not None] or [torch.zeros(0)])
    places = wrong.nonzero()[:, 0].tolist()
    if places:
        logger.warning(
            "the %s set holds NaN or infinity in %s of %s samples (the first is sample %s, from 0): leave them out, or "
            "replace these values",
            part,
            f"{len(places):,}",
            f"{len(wrong):,}",
            f"{places[0]:,}",
        )


def _wrong_samples(x: Any) -> Tensor | None:
    """Whether each sample of a batch holds such a value; None for inputs without samples of real numbers."""
    of_all = [tensor for tensor in tensors_of(x).values() if tensor.ndim]
    found = [
        (own.isnan() | (own == math.inf)).flatten(1).any(1) if own.ndim > 1 else own.isnan() | (own == math.inf)
        for own in of_all
        if own.is_floating_point()
    ]
    return torch.stack(found).any(0) if found else None
