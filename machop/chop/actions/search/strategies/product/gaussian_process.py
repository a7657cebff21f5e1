"""Gaussian process over the points of a product space, fitted to a few hundred values.

The kernel has three parts, each of which a search on number formats needs: what an operand's width adds wherever it
stands, what a layer's choice adds as a whole, and how all choices act together:

    k(x, x') = s₁ mean_f [x_f = x'_f] + s₂ mean_a [x_a = x'_a] + s₃ exp(−Σ_f w_f |x_f − x'_f|)

over columns f (`AxisLevels`) and axes a. Where features φ of a point are known beforehand, two more say that the values
follow them, in a straight line or smoothly:

    … + Σ_p l_p φ_p φ'_p + s₄ exp(−½ Σ_p v_p (φ_p − φ'_p)²)

Weights and scales are those of the greatest marginal likelihood under wide priors (Rasmussen and Williams, Gaussian
Processes for Machine Learning, MIT Press 2006, equations 2.25, 2.26, 5.8 and 5.9).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy  # its parts are imported when they are first used

from chop.actions.search.strategies.product.choice_levels import AxisLevels

Array = np.ndarray[Any, Any]
Priors = list[tuple[float, float]]
"""Mean and deviation of the logarithm of each parameter."""

MOST_WEIGHTS = 32
"""Columns up to which each has a weight of its own; of more, those of one operand share theirs."""

REACH = 6.0
"""Deviations of the priors within which parameters are looked for: beyond, the kernel is no number any more."""

IMPOSSIBLE = 1e10
"""The loss of parameters whose kernel has no Cholesky factor in double precision."""

JITTER = 1e-6
SMALLEST = 1e-10
WEIGHT_PRIOR, NOISE_PRIOR = (-0.5, 1.5), (-6.0, 2.0)
SCALE_PRIORS = ((-1.0, 1.5), (0.0, 1.5), (-1.0, 1.5))
"""Mean and deviation of the logarithms of three scales: of the product, of columns and of axes."""

CURVATURE_PRIOR, SLOPE_PRIOR, CURVE_PRIOR = (-1.0, 1.0), (-3.0, 1.0), (-3.0, 1.0)
"""Priors of features: how quickly values turn along each, and how much each straight line and the curve make up."""


@dataclass(frozen=True)
class Features:
    """Features of points that are known beforehand: `count` numbers for each, in standard units, `(points, count)`."""

    count: int
    of: Callable[[Array], Array]


@dataclass(frozen=True)
class _Fitted:
    """A fitted model: points, parameters, Cholesky factor and weights of the known values."""

    known: _Points
    parameters: Array
    factor: Array
    dual: Array
    mean: float
    deviation: float


@dataclass(frozen=True)
class _Points:
    codes: Array
    features: Array


class GaussianProcess:
    """Learns a function of codes `(points, axes)`; `levels` are the columns of each axis."""

    def __init__(self, levels: Sequence[AxisLevels], features: Features | None = None) -> None:
        self._features = features or Features(0, lambda codes: np.empty((len(codes), 0)))
        self._choices = _ChoiceKernel(levels)
        self._trends = _TrendKernel(self._features.count)
        self._priors = np.array([NOISE_PRIOR, *self._choices.priors, *self._trends.priors])
        self._parameters = self._priors[:, 0]
        self._fitted: _Fitted | None = None

    def fit(self, codes: Array, values: Array, steps: int) -> None:
        """Fit `values` `(points,)`; parameters start where the last fit ended and are improved in `steps`."""
        centre, spread = float(values.mean()), float(values.std()) or 1.0
        wanted = (values - centre) / spread
        known = _Points(codes, self._features.of(codes))
        apart = self._apart(known)
        means, deviations = self._priors.T
        found = scipy.optimize.minimize(
            self._loss,
            self._parameters,
            (apart, wanted),
            jac=True,
            method="L-BFGS-B",
            bounds=np.stack([means - REACH * deviations, means + REACH * deviations], 1),
            options={"maxiter": steps},
        )
        self._parameters = found.x if found.fun < IMPOSSIBLE else means
        factor = np.linalg.cholesky(self._covariance(self._parameters, apart)[0])
        dual = scipy.linalg.cho_solve((factor, True), wanted)
        self._fitted = _Fitted(known, self._parameters, factor, dual, centre, spread)

    def predict(self, codes: Array) -> tuple[Array, Array]:
        """The means and the standard deviations at `codes` `(points, axes)`."""
        fitted = self._fitted
        assert fitted is not None, "fit comes first"
        _, choices, trends = self._split(fitted.parameters)
        features = self._features.of(codes)
        kernel = self._choices.between(choices, codes, fitted.known.codes)
        kernel += self._trends.between(trends, features, fitted.known.features)
        explained = scipy.linalg.solve_triangular(fitted.factor, kernel.T, lower=True)
        variance = self._choices.variance(choices) + self._trends.variance(trends, features)
        variance = variance - np.einsum("ij,ij->j", explained, explained)
        mean = kernel @ fitted.dual
        return mean * fitted.deviation + fitted.mean, np.sqrt(np.maximum(variance, SMALLEST)) * fitted.deviation

    def _split(self, parameters: Array) -> tuple[float, Array, Array]:
        """The noise, and the parameters of either kernel."""
        last = 1 + len(self._choices.priors)
        return float(np.exp(parameters[0])) + JITTER, parameters[1:last], parameters[last:]

    def _apart(self, points: _Points) -> tuple[_Apart, Array]:
        return self._choices.apart(points.codes), self._trends.apart(points.features)

    def _covariance(self, parameters: Array, apart: tuple[_Apart, Array]) -> tuple[Array, Array, Array]:
        """The covariance of the known values: kernels with noise, product part and curve."""
        noise, choices, trends = self._split(parameters)
        kernel, together = self._choices.matrix(choices, apart[0])
        trend, curve = self._trends.matrix(trends, apart[1])
        return kernel + trend + np.eye(len(kernel)) * noise, together, curve

    def _loss(self, parameters: Array, apart: tuple[_Apart, Array], wanted: Array) -> tuple[float, Array]:
        """The negative logarithm of the posterior of `parameters`, and its gradient."""
        noise, choices, trends = self._split(parameters)
        covariance, together, curve = self._covariance(parameters, apart)
        try:
            factor = np.linalg.cholesky(covariance)
        except np.linalg.LinAlgError:
            return IMPOSSIBLE, np.zeros_like(parameters)
        lower, _ = scipy.linalg.lapack.dpotri(factor, lower=True)  # of the inverse, its lower half
        inverse = np.tril(lower) + np.tril(lower, -1).T
        dual = inverse @ wanted
        pull = 0.5 * (inverse - np.outer(dual, dual))  # the gradient by the kernel's entries
        gradient = np.concatenate(
            [
                [np.trace(pull) * (noise - JITTER)],
                self._choices.gradient(choices, apart[0], together, pull),
                self._trends.gradient(trends, apart[1], curve, pull),
            ]
        )
        means, deviations = self._priors.T
        beyond = (parameters - means) / deviations
        loss = 0.5 * wanted @ dual + np.log(np.diag(factor)).sum() + 0.5 * beyond @ beyond
        return float(loss), gradient + beyond / deviations


@dataclass(frozen=True)
class _Apart:
    """Differences between points: `distances` `(weights, n, n)`, shares of equal columns and axes `(n, n)`."""

    distances: Array
    columns: Array
    axes: Array


class _ChoiceKernel:
    """The kernel over choices. Parameters: weights, then the scales of the product, columns and axes."""

    def __init__(self, levels: Sequence[AxisLevels]) -> None:
        self._tables, self._weights = _tables(levels)
        self.priors: Priors = [*[WEIGHT_PRIOR] * self._weights, *SCALE_PRIORS]

    def apart(self, codes: Array) -> _Apart:
        shape = len(codes), len(codes)
        apart = _Apart(np.zeros((self._weights, *shape)), np.zeros(shape), np.zeros(shape))
        for axis, table in enumerate(self._tables):
            rows, columns = codes[:, axis][:, None], codes[:, axis][None, :]
            apart.distances[...] += table.distances[:, rows, columns]
            apart.columns[...] += table.equal_columns[rows, columns]
            apart.axes[...] += table.equal[rows, columns]
        return apart

    def matrix(self, parameters: Array, apart: _Apart) -> tuple[Array, Array]:
        """The kernel, and its product part."""
        product, columns, axes = np.exp(parameters[self._weights :])
        together = product * np.exp(-np.tensordot(np.exp(parameters[: self._weights]), apart.distances, 1))
        return together + columns * apart.columns + axes * apart.axes, together

    def gradient(self, parameters: Array, apart: _Apart, together: Array, pull: Array) -> Array:
        """The gradient of `Σ pull · matrix` by the parameters."""
        _, columns, axes = np.exp(parameters[self._weights :])
        pulled = pull * together
        weights = -np.exp(parameters[: self._weights]) * np.tensordot(apart.distances, pulled, ([1, 2], [0, 1]))
        scales = pulled.sum(), (pull * apart.columns).sum() * columns, (pull * apart.axes).sum() * axes
        return np.concatenate([weights, scales])

    def between(self, parameters: Array, codes: Array, known: Array) -> Array:
        """The kernel between `codes` and the known points, axis by axis from what each alternative has with each."""
        weights = np.exp(parameters[: self._weights])
        product, columns, axes = np.exp(parameters[self._weights :])
        exponent = np.zeros((len(codes), len(known)))
        sums = np.zeros_like(exponent)
        for axis, table in enumerate(self._tables):
            own, others = codes[:, axis], known[:, axis]
            exponent -= np.tensordot(weights, table.distances, 1)[:, others][own]
            sums += (columns * table.equal_columns + axes * table.equal)[:, others][own]
        found: Array = sums + product * np.exp(exponent)
        return found

    def variance(self, parameters: Array) -> float:
        """The kernel between any point and itself."""
        return float(np.exp(parameters[self._weights :]).sum())


class _TrendKernel:
    """The kernel over features. Parameters: curvatures, slopes, the scale of the curve; none without features."""

    def __init__(self, count: int) -> None:
        self._count = count
        self.priors: Priors = [*[CURVATURE_PRIOR] * count, *[SLOPE_PRIOR] * count, CURVE_PRIOR] if count else []

    def _split(self, parameters: Array) -> tuple[Array, Array, float]:
        found = np.exp(parameters)
        return found[: self._count], found[self._count : -1], float(found[-1])

    def apart(self, features: Array) -> Array:
        """Squares of differences and products of features, `(2, count, n, n)`."""
        columns = features.T
        return np.stack([(columns[:, :, None] - columns[:, None]) ** 2, columns[:, :, None] * columns[:, None]])

    def matrix(self, parameters: Array, apart: Array) -> tuple[Array, Array]:
        """The kernel, and its curve."""
        if not self._count:
            return np.zeros(apart.shape[2:]), np.zeros(0)
        curvatures, slopes, scale = self._split(parameters)
        curve = scale * np.exp(-0.5 * np.tensordot(curvatures, apart[0], 1))
        return np.tensordot(slopes, apart[1], 1) + curve, curve

    def gradient(self, parameters: Array, apart: Array, curve: Array, pull: Array) -> Array:
        """The gradient of `Σ pull · matrix` by the parameters."""
        if not self._count:
            return np.zeros(0)
        curvatures, slopes, _ = self._split(parameters)
        pulled = pull * curve
        of_curvatures = -0.5 * curvatures * np.tensordot(apart[0], pulled, ([1, 2], [0, 1]))
        of_slopes = slopes * np.tensordot(apart[1], pull, ([1, 2], [0, 1]))
        return np.concatenate([of_curvatures, of_slopes, [pulled.sum()]])

    def between(self, parameters: Array, features: Array, known: Array) -> Array:
        """The kernel between points and the known ones."""
        if not self._count:
            return np.zeros((len(features), len(known)))
        curvatures, slopes, scale = self._split(parameters)
        own, others = features * np.sqrt(curvatures), known * np.sqrt(curvatures)
        squares = (own**2).sum(1)[:, None] + (others**2).sum(1) - 2 * own @ others.T
        found: Array = (features * slopes) @ known.T + scale * np.exp(-0.5 * np.maximum(squares, 0.0))
        return found

    def variance(self, parameters: Array, features: Array) -> Array:
        """The kernel between each point and itself, `(points,)`."""
        if not self._count:
            return np.zeros(len(features))
        _, slopes, scale = self._split(parameters)
        return scale + features**2 @ slopes


@dataclass(frozen=True)
class _Table:
    """Distances of two choices of an axis, `(weights, size, size)`, and what they share, `(size, size)`.

    Shared are equal columns, and equality.
    """

    distances: Array
    equal_columns: Array
    equal: Array


def _tables(levels: Sequence[AxisLevels]) -> tuple[list[_Table], int]:
    """The tables of all axes, and the number of weights."""
    names = [(axis, name) for axis, own in enumerate(levels) for name in own.names]
    shared = len(names) > MOST_WEIGHTS
    keys = list(dict.fromkeys(name for _, name in names)) if shared else names
    place = {key: number for number, key in enumerate(keys)}
    tables = []
    for axis, own in enumerate(levels):
        apart = np.abs(own.values[:, None] - own.values[None])  # (size, size, columns)
        distance = np.zeros((len(keys), *apart.shape[:2]))
        for column, name in enumerate(own.names):
            distance[place[name if shared else (axis, name)]] += apart[:, :, column]
        equal = np.eye(len(own.values)) / len(levels)
        tables.append(_Table(distance, (apart == 0).sum(2) / max(1, len(names)), equal))
    return tables, len(keys)
