"""The mean of several models of one function; its deviation counts what they disagree by."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from chop.actions.search.strategies.product.base import Array


class Model(Protocol):
    """A function of codes `(points, axes)` that is learned from some of its values `(points,)`."""

    def fit(self, codes: Array, values: Array, steps: int) -> None:
        """Fit the model; parameters are improved in `steps`."""

    def predict(self, codes: Array) -> tuple[Array, Array]:
        """The means and the standard deviations at `codes`."""


@dataclass
class AveragedModel:
    """Models that count equally: their mixture, by its mean and standard deviation at each point.

    Those behind the first are fitted, and count, from `enough` values on.

    The variance of a mixture is the mean of the variances, and the variance of the means beside it: where the models
    disagree, the doubt is larger than that of any.

    >>> class Constant:
    ...     def __init__(self, mean): self.mean = mean
    ...     def predict(self, codes): return np.full(len(codes), self.mean), np.zeros(len(codes))
    >>> mean, deviation = AveragedModel([Constant(1.0), Constant(3.0)]).predict(np.zeros((1, 2)))
    >>> mean.tolist(), deviation.tolist()
    ([2.0], [1.0])
    """

    models: Sequence[Model]
    enough: int = 0

    def __post_init__(self) -> None:
        self._counting = self.models

    def fit(self, codes: Array, values: Array, steps: int) -> None:
        """Fit all that count to the same values."""
        self._counting = self.models if len(values) >= self.enough else self.models[:1]
        for model in self._counting:
            model.fit(codes, values, steps)

    def predict(self, codes: Array) -> tuple[Array, Array]:
        """The mean and the standard deviation of the mixture at `codes` `(points, axes)`."""
        means, deviations = (
            np.stack(parts) for parts in zip(*(one.predict(codes) for one in self._counting), strict=True)
        )
        mean = means.mean(0)
        return mean, np.sqrt((deviations**2 + (means - mean) ** 2).mean(0))
