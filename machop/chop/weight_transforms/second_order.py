"""Second-order rounding (GPTQ): rounds a layer's weights input by input, and lets later ones make up for the error."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from chop.formats import OneByOne

STRONGER = 10.0
"""Factor of the damping, again and again where the second moments still have no Cholesky factor."""


@dataclass(frozen=True)
class Compensated:
    """What was rounded, `(groups, outputs, columns)`.

    `values` are the weights right before they were rounded, `rounded` what they became.
    """

    values: Tensor
    rounded: Tensor


def compensated(
    weights: Tensor, dropped: Tensor, gram: Tensor, rounding: OneByOne, damping: float, by_size: bool
) -> Compensated:
    """Round weights `(groups, outputs, columns)` so that the squared error of the results is small.

    Columns are rounded one after the other, those with the greatest second moments first if `by_size`; each time, the
    columns that are left change so that they make up for the error as well as they can. `dropped` weights become 0,
    and are made up for alike. `gram` `(groups, columns, columns)` are the second moments of the inputs, and `damping`
    times their mean is added to them; an input that is always 0 is rounded by itself. The parameters of `rounding` have
    the shape of the weights. All is computed in float64, rounded in the type of the weights.

    Frantar et al., arXiv:2210.17323, algorithm 1, in blocks of one column; with the order of their "act order".
    """
    moments = gram.diagonal(dim1=-2, dim2=-1)
    order = moments.argsort(dim=-1, descending=True, stable=True) if by_size else _as_stored(moments)
    factor = _factor(_ordered(_ordered(gram, order), order, 1), damping)
    left = _ordered(weights.double(), order).mT.contiguous()
    parameters = [_ordered(own, order).mT for own in rounding.parameters]
    is_zero = _ordered(dropped, order).mT
    values, rounded = left.to(weights.dtype), left.to(weights.dtype)
    for column in range(left.shape[1]):
        values[:, column] = left[:, column]
        own = rounding.function(values[:, column], *(parameter[:, column] for parameter in parameters))
        rounded[:, column] = own.masked_fill(is_zero[:, column], 0.0)
        error = (left[:, column] - rounded[:, column]) / factor[:, column, column, None]
        left[:, column:] -= factor[:, column, column:, None] * error[:, None]
    back = order.argsort(dim=-1)
    return Compensated(_ordered(values.mT, back), _ordered(rounded.mT, back))


def _factor(gram: Tensor, damping: float) -> Tensor:
    """The upper factor U of the inverse of each matrix, damped: UᵀU."""
    moments = gram.diagonal(dim1=-2, dim2=-1)
    is_dead = moments == 0
    mean = (moments.sum(-1) / (~is_dead).sum(-1).clamp(min=1)).unsqueeze(-1)
    while True:
        damped = gram + torch.diag_embed(torch.where(is_dead, 1.0, damping * mean))
        lower, failed = torch.linalg.cholesky_ex(damped)
        if not failed.any():
            upper, failed = torch.linalg.cholesky_ex(torch.cholesky_inverse(lower))
            if not failed.any():
                found: Tensor = upper.mT.contiguous()
                return found
        damping = max(damping, torch.finfo(gram.dtype).eps) * STRONGER


def _as_stored(moments: Tensor) -> Tensor:
    return torch.arange(moments.shape[-1], device=moments.device).expand(moments.shape)


def _ordered(matrices: Tensor, order: Tensor, dim: int = 2) -> Tensor:
    """`(groups, …, …)` with dimension `dim` in the order of its group."""
    index = order[:, None, :] if dim == 2 else order[:, :, None]
    return matrices.gather(dim, index.expand(matrices.shape))
