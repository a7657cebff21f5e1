"""The loss of outputs against soft targets: the cross entropy, mixed with the expected error."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

Floats = NDArray[np.float32]

ERROR_WEIGHT = 4.0
"""What one error counts in units of the cross entropy: about how both fall together when a network grows."""


@dataclass(frozen=True)
class SoftLoss:
    """`1 - error_share` of the cross entropy, and `error_share` times 4 of the expected error.

    The expected error of a sample is the probability of a wrong class where classes are drawn by the softmax of the
    outputs (the mean absolute error of arXiv:1712.09482). The cross entropy grows without bound for samples that are
    far on the wrong side, and a small network spends weights on them in vain. In arrays, samples are columns.
    """

    error_share: float = 0.0

    def losses(self, outputs: Floats, shares: Floats) -> Floats:
        """The loss of each sample.

        >>> outputs, shares = np.array([[0.0], [0.0]], np.float32), np.array([[1.0], [0.0]], np.float32)
        >>> [round(float(SoftLoss(share).losses(outputs, shares)[0]), 3) for share in (0.0, 0.5, 1.0)]
        [0.693, 1.347, 2.0]
        """
        shifted = outputs - outputs.max(axis=0)
        powers = np.exp(shifted)
        total = powers.sum(axis=0)
        losses: Floats = np.log(total)
        losses -= np.einsum("ij,ij->j", shares, shifted)
        if self.error_share:
            right = np.einsum("ij,ij->j", shares, powers)
            right /= total
            losses *= 1 - self.error_share
            losses += np.float32(self.error_share * ERROR_WEIGHT) * (1 - right)
        return losses

    def to_gradient(self, outputs: Floats, shares: Floats) -> None:
        """Replace outputs by the gradient of the sum of all losses."""
        outputs -= outputs.max(axis=0)
        np.exp(outputs, out=outputs)
        outputs /= outputs.sum(axis=0)
        if not self.error_share:
            outputs -= shares
            return
        pull = np.einsum("ij,ij->j", outputs, shares) - shares
        pull *= np.float32(self.error_share * ERROR_WEIGHT)
        pull += 1 - self.error_share
        pull *= outputs
        pull -= (1 - self.error_share) * shares
        outputs[:] = pull

    def of_samples(self, outputs: Tensor, shares: Tensor) -> Tensor:
        """The mean loss of outputs `(samples, classes)`, with a gradient."""
        cross_entropy = F.cross_entropy(outputs, shares)
        if not self.error_share:
            return cross_entropy
        error = 1 - (outputs.softmax(1) * shares).sum(1).mean()
        return torch.lerp(cross_entropy, ERROR_WEIGHT * error, self.error_share)

    def of_classes(self, outputs: Tensor, classes: Tensor) -> float:
        """The mean loss of outputs `(samples, classes)` for the numbers of the right classes."""
        return float(self.of_samples(outputs, F.one_hot(classes, outputs.shape[1]).to(outputs.dtype)))


CROSS_ENTROPY = SoftLoss()
