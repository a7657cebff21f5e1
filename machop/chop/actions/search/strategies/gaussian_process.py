"""A Gaussian process over the points of a product space, for functions of which a few hundred values are known.

The kernel has three parts, each of which a search on number formats needs: what an operand's width adds wherever it
stands, what a layer's choice adds as a whole, and how all choices act together:

    k(x, x') = s₁ mean_f [x_f = x'_f] + s₂ mean_a [x_a = x'_a] + s₃ exp(−Σ_f w_f |x_f − x'_f|)

over columns f (`AxisLevels`) and axes a. Weights and scales are those of the greatest marginal likelihood under wide
priors (Rasmussen and Williams, Gaussian Processes for Machine Learning, MIT Press 2006, equations 2.25, 2.26, 5.8 and
5.9).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy  # its parts are imported when they are first used

from chop.actions.search.strategies.choice_levels import AxisLevels

Array = np.ndarray[Any, Any]

MOST_WEIGHTS = 32
"""Columns up to which each has a weight of its own; of more, those of one operand share theirs."""

REACH = 6.0
"""Deviations of the priors within which parameters are looked for: beyond, the kernel is no number any more."""

IMPOSSIBLE = 1e10
"""The loss of parameters whose kernel has no Cholesky factor in double precision."""

JITTER = 1e-6
SMALLEST = 1e-10
WEIGHT_PRIOR, SCALE_PRIORS = (-0.5, 1.5), ((-1.0, 1.5), (-6.0, 2.0), (0.0, 1.5), (-1.0, 1.5))
"""Mean and deviation of the logarithms: of weights; of the scales of the product, the noise, columns and axes."""


@dataclass(frozen=True)
class _Tables:
    """For each axis what two of its alternatives differ by, `(size, size)`: in columns, and in being the same."""

    distances: list[Array]
    """`(weights, size, size)` for each axis."""
    equal_columns: list[Array]
    equal: list[Array]


@dataclass(frozen=True)
class _Parts:
    """The parts of the kernel between points and points: `distances` `(weights, n, m)`, the others `(n, m)`."""

    distances: Array
    columns: Array
    axes: Array


@dataclass(frozen=True)
class _Fitted:
    """What predictions rest on: the codes, the parameters, the Cholesky factor and the weights of known values."""

    codes: Array
    parameters: Array
    factor: Array
    dual: Array
    mean: float
    deviation: float


class GaussianProcess:
    """Learns a function of codes `(points, axes)`; `levels` are the columns of each axis."""

    def __init__(self, levels: Sequence[AxisLevels]) -> None:
        self._tables, self._weights = _tables(levels)
        self._parameters = np.array([prior for prior, _ in self._priors])
        self._fitted: _Fitted | None = None

    @property
    def _priors(self) -> list[tuple[float, float]]:
        return [WEIGHT_PRIOR] * self._weights + list(SCALE_PRIORS)

    def fit(self, codes: Array, values: Array, steps: int) -> None:
        """Learn `values` `(points,)`; parameters start where the fit before ended and are improved in `steps`."""
        centre, spread = float(values.mean()), float(values.std()) or 1.0
        wanted = (values - centre) / spread
        parts = self._parts(codes, codes)
        bounds = [(mean - REACH * deviation, mean + REACH * deviation) for mean, deviation in self._priors]
        found = scipy.optimize.minimize(
            self._loss,
            self._parameters,
            (parts, wanted),
            jac=True,
            method="L-BFGS-B",
            bounds=bounds,
            options={"maxiter": steps},
        )
        usual = np.array([prior for prior, _ in self._priors])
        self._parameters = found.x if found.fun < IMPOSSIBLE else usual
        kernel, _ = self._kernel(self._parameters, parts)
        factor = np.linalg.cholesky(kernel + np.eye(len(codes)) * self._noise(self._parameters))
        dual = scipy.linalg.cho_solve((factor, True), wanted)
        self._fitted = _Fitted(codes, self._parameters, factor, dual, centre, spread)

    def predict(self, codes: Array) -> tuple[Array, Array]:
        """The means and the standard deviations at `codes` `(points, axes)`."""
        fitted = self._fitted
        assert fitted is not None, "fit comes first"
        kernel = self._kernel_with(codes, fitted)
        scales = np.exp(fitted.parameters[self._weights :])
        explained = scipy.linalg.solve_triangular(fitted.factor, kernel.T, lower=True)
        variance = scales[0] + scales[2] + scales[3] - np.einsum("ij,ij->j", explained, explained)
        mean = kernel @ fitted.dual
        return mean * fitted.deviation + fitted.mean, np.sqrt(np.maximum(variance, SMALLEST)) * fitted.deviation

    def _kernel_with(self, codes: Array, fitted: _Fitted) -> Array:
        """The kernel between `codes` and the known points, axis by axis from what each alternative has with each."""
        weights = np.exp(fitted.parameters[: self._weights])
        product, _, columns, axes = np.exp(fitted.parameters[self._weights :])
        exponent = np.zeros((len(codes), len(fitted.codes)))
        sums = np.zeros_like(exponent)
        for axis, (distance, own, equal) in enumerate(
            zip(self._tables.distances, self._tables.equal_columns, self._tables.equal, strict=True)
        ):
            known = fitted.codes[:, axis]
            exponent -= np.tensordot(weights, distance, 1)[:, known][codes[:, axis]]
            sums += (columns * own + axes * equal)[:, known][codes[:, axis]]
        found: Array = sums + product * np.exp(exponent)
        return found

    def _parts(self, codes: Array, others: Array) -> _Parts:
        shape = len(codes), len(others)
        parts = _Parts(np.zeros((self._weights, *shape)), np.zeros(shape), np.zeros(shape))
        for axis, (distance, own, equal) in enumerate(
            zip(self._tables.distances, self._tables.equal_columns, self._tables.equal, strict=True)
        ):
            rows, columns = codes[:, axis][:, None], others[:, axis][None, :]
            parts.distances[...] += distance[:, rows, columns]
            parts.columns[...] += own[rows, columns]
            parts.axes[...] += equal[rows, columns]
        return parts

    def _kernel(self, parameters: Array, parts: _Parts) -> tuple[Array, Array]:
        """The kernel, and its product part."""
        weights = np.exp(parameters[: self._weights])
        product, _, columns, axes = np.exp(parameters[self._weights :])
        together = product * np.exp(-np.tensordot(weights, parts.distances, 1))
        return together + columns * parts.columns + axes * parts.axes, together

    def _noise(self, parameters: Array) -> float:
        return float(np.exp(parameters[self._weights + 1])) + JITTER

    def _loss(self, parameters: Array, parts: _Parts, wanted: Array) -> tuple[float, Array]:
        """The negative logarithm of the posterior of `parameters`, and its gradient."""
        kernel, together = self._kernel(parameters, parts)
        count, noise = len(wanted), self._noise(parameters)
        try:
            factor = np.linalg.cholesky(kernel + np.eye(count) * noise)
        except np.linalg.LinAlgError:
            return IMPOSSIBLE, np.zeros_like(parameters)
        inverse = scipy.linalg.cho_solve((factor, True), np.eye(count))
        dual = inverse @ wanted
        pull = 0.5 * (inverse - np.outer(dual, dual))  # the gradient by the kernel's entries
        _, _, columns, axes = np.exp(parameters[self._weights :])
        gradient = np.empty_like(parameters)
        pulled = pull * together
        weights = np.exp(parameters[: self._weights])
        gradient[: self._weights] = -weights * np.tensordot(parts.distances, pulled, ([1, 2], [0, 1]))
        gradient[self._weights :] = (
            pulled.sum(),
            np.trace(pull) * (noise - JITTER),
            (pull * parts.columns).sum() * columns,
            (pull * parts.axes).sum() * axes,
        )
        means, deviations = np.array(self._priors).T
        beyond = (parameters - means) / deviations
        loss = 0.5 * wanted @ dual + np.log(np.diag(factor)).sum() + 0.5 * beyond @ beyond
        return float(loss), gradient + beyond / deviations


def _tables(levels: Sequence[AxisLevels]) -> tuple[_Tables, int]:
    """The tables of all axes, and the number of weights."""
    names = [(axis, name) for axis, own in enumerate(levels) for name in own.names]
    shared = len(names) > MOST_WEIGHTS
    keys = list(dict.fromkeys(name for _, name in names)) if shared else names
    place = {key: number for number, key in enumerate(keys)}
    tables = _Tables([], [], [])
    for axis, own in enumerate(levels):
        apart = np.abs(own.values[:, None] - own.values[None])  # (size, size, columns)
        distance = np.zeros((len(keys), *apart.shape[:2]))
        for column, name in enumerate(own.names):
            distance[place[name if shared else (axis, name)]] += apart[:, :, column]
        tables.distances.append(distance)
        tables.equal_columns.append((apart == 0).sum(2) / max(1, len(names)))
        tables.equal.append(np.eye(len(own.values)) / len(levels))
    return tables, len(keys)
