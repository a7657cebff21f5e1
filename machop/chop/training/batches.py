"""Training samples in memory, and the batches of an epoch, in an order that depends on a generator alone."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from chop.dataset.rows import form_of, join, take

WHOLE = 2**62
"""A batch size that no data reach."""

Samples = tuple[Any, Tensor]
"""Inputs of one form (the same lengths), and their targets."""


def by_form(batches: Iterable[Samples]) -> list[Samples]:
    """All samples of one form (the same lengths) as one batch each."""
    groups: dict[Any, list[Samples]] = {}
    for x, y in batches:
        groups.setdefault(form_of(x), []).append((x, y))
    return [
        own[0] if len(own) == 1 else (join([x for x, _ in own]), torch.cat([y for _, y in own]))
        for own in groups.values()
    ]


def epoch_rows(sizes: Sequence[int], batch_size: int, generator: torch.Generator) -> Iterator[tuple[int, Tensor]]:
    """The batches of one epoch: the place of a form, of which there are `sizes` samples, and numbers of its samples.

    Samples that are padded to other lengths are not mixed. A batch of one sample is left to another epoch, as in
    `chop.dataset.rows.rows_loader`: batch norm cannot train on it. The only one of its length is trained on by itself.
    """
    orders = [torch.randperm(size, generator=generator) for size in sizes]
    chosen = [(place, rows) for place, order in enumerate(orders) for rows in torch.split(order, batch_size)]
    if len(sizes) > 1:
        chosen = [chosen[place] for place in torch.randperm(len(chosen), generator=generator).tolist()]
    for place, rows in chosen:
        if len(rows) > 1 or len(orders[place]) == 1 or batch_size == 1:
            yield place, rows


def batch_at(parts: Sequence[Samples], place: int, rows: Tensor) -> Samples:
    """The samples `rows` of the form at `place`."""
    return take(parts[place][0], rows), parts[place][1][rows]
