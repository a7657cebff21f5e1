"""Says how many samples something holds of, and which is the first, for messages about data."""

from __future__ import annotations

from torch import Tensor


def counted_samples(is_meant: Tensor) -> str:
    """How many samples are meant, of how many, and the number of the first, which must exist.

    >>> import torch
    >>> counted_samples(torch.tensor([False, True, True]))
    '2 of 3 samples (the first is sample 1, from 0)'
    """
    places = is_meant.nonzero()[:, 0]
    return f"{len(places):,} of {len(is_meant):,} samples (the first is sample {int(places[0]):,}, from 0)"
