"""The importance of each choice of a space: a functional ANOVA of the main effects, from the trials of a search."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chop.record.training import SNAPSHOT_KEY
from chop.record.trial import Trial
from chop.report.html.numbers import DIGITS, LEAST_TRIALS, Floats, column

PENALTIES = np.logspace(-10, 1, 23)
"""Penalties of the ridge regression, in mean eigenvalues of the Gram matrix; generalised cross-validation picks one."""

ROWS_AT_ONCE = 4096
TIE = 1e-3
"""By which share of the criterion a smaller penalty may be worse and still be taken."""


def trials_needed(choices: Mapping[str, Sequence[Any]]) -> int:
    """The measured trials below which a fit says nothing: two for each free effect, or all points of the space."""
    counts = [len(own) for own in choices.values()]
    return min(max(LEAST_TRIALS, 2 * sum(count - 1 for count in counts)), prod(counts))


def free_choices(choices: Mapping[str, Sequence[Any]]) -> dict[str, Sequence[Any]]:
    """The choices between values. The snapshots of a training are none: each has formats and weights of its own."""
    return {key: own for key, own in choices.items() if len(own) > 1 and key != SNAPSHOT_KEY}


def importances(trials: Sequence[Trial], choices: Mapping[str, Sequence[Any]], metric: str) -> dict[str, Any]:
    """The share of a metric's variance that each choice explains by itself, if all values are equally likely.

    These are the main effects of a functional ANOVA (Hutter, Hoos, Leyton-Brown, ICML 2014) under the uniform
    distribution over the space. They come from a ridge regression with one number for each value of each choice. The
    estimates' own variance is subtracted. All shares are 0 or more; with `rest`, which is interactions of choices and
    noise, they sum to 1. Empty where `why_no_importance` states a reason, or where the metric does not differ.
    """
    counted = _measured(trials, metric)
    free = free_choices(choices)
    values = column(counted, metric)
    if not free or len(counted) < trials_needed(free) or np.ptp(values) == 0:
        return {}
    codes = _codes(counted, free)
    if not np.ptp(codes, axis=0).any():
        return {}
    counts = [len(own) for own in free.values()]
    seen = len(np.unique(codes, axis=0)) / prod(counts)
    fit = _fit(codes, counts, (values - values.mean()) / values.std(), 1 - seen)
    whole = sum(fit.effects) + fit.rest
    shares = sorted(zip(free, (own / whole for own in fit.effects), strict=True), key=lambda own: -own[1])
    return {
        "metric": metric,
        "trials": len(counted),
        "shares": {key: round(share, DIGITS) for key, share in shares},
        "rest": round(fit.rest / whole, DIGITS),
    }


def why_no_importance(trials: Sequence[Trial], choices: Mapping[str, Sequence[Any]], metrics: Sequence[str]) -> str:
    """Why `importances` is empty for all of `metrics`, as a sentence without its full stop."""
    free = free_choices(choices)
    if not free:
        return (
            "the trials are snapshots of one training, each with formats of its own: no choice has an importance"
            if SNAPSHOT_KEY in choices
            else "there is no choice: the space has one point"
        )
    counted = max((_measured(trials, name) for name in metrics), key=len)
    if len(counted) < (needed := trials_needed(free)):
        one = "choice" if len(free) == 1 else f"{len(free)} choices"
        is_whole = needed == prod(len(own) for own in free.values())
        how = "all of the space" if is_whole else "two for each value beyond the first of each choice"
        return (
            f"the importance of the {one} needs {needed} measured trials ({how}), and the study has {len(counted)}: "
            "search on with a larger n_trials"
        )
    if not np.ptp(_codes(counted, free), axis=0).any():
        return "all measured trials have the same choices, so no choice has importance"
    return "no objective or constraint differs between the measured trials, so no choice has importance"


def _measured(trials: Sequence[Trial], metric: str) -> list[Trial]:
    return [trial for trial in trials if trial.counts and np.isfinite(trial.metrics.get(metric, np.nan))]


def _codes(trials: Sequence[Trial], free: Mapping[str, Sequence[Any]]) -> NDArray[np.int64]:
    """The value that each trial has of each free choice, as its number; shape (trials, choices)."""
    return np.array([[trial.point.get(key, 0) for key in free] for trial in trials])


@dataclass(frozen=True)
class _Fit:
    """The variance of each choice's main effect, and of all that they do not explain."""

    effects: list[float]
    rest: float


def _fit(codes: NDArray[np.int64], counts: Sequence[int], values: Floats, unseen: float) -> _Fit:
    """Main effects of `codes`, shape (trials, choices), on values of mean 0; `unseen` is the share of points not tried.

    An estimate from all points of the space has no error: `unseen` scales its variance.
    """
    gram, moments = _gram(codes, counts, values)
    eigenvalues, vectors = np.linalg.eigh(gram)
    eigenvalues = np.maximum(eigenvalues, 0)
    along = vectors.T @ moments
    penalties = (PENALTIES if unseen else PENALTIES[:1]) * eigenvalues.mean()
    penalty, squares = _penalty(penalties, eigenvalues, along, len(values))
    kept = 1 / (eigenvalues + penalty)
    degrees = float((eigenvalues * kept).sum()) + 1
    rest = squares / max(len(values) - unseen * degrees, 1.0)
    weights = vectors @ (kept * along)
    covariance = (vectors * (eigenvalues * kept**2)) @ vectors.T * (rest * unseen)
    effects = []
    for start, end in pairwise(np.cumsum([0, *counts]).tolist()):
        own, error = weights[start:end], covariance[start:end, start:end]
        bias = (np.trace(error) - error.sum() / (end - start)) / (end - start)
        effects.append(max(0.0, float(own.var() - bias)))
    return _Fit(effects, rest)


def _gram(codes: NDArray[np.int64], counts: Sequence[int], values: Floats) -> tuple[Floats, Floats]:
    """The centred indicator columns of all values of all choices: times themselves, and times the metric."""
    means = np.concatenate(
        [np.bincount(codes[:, place], minlength=count) / len(codes) for place, count in enumerate(counts)]
    )
    size = len(means)
    gram, moments = np.zeros((size, size)), np.zeros(size)
    for start, block in zip(range(0, len(codes), ROWS_AT_ONCE), _indicators(codes, counts, ROWS_AT_ONCE), strict=True):
        centred = block - means
        gram += centred.T @ centred
        moments += centred.T @ values[start : start + len(block)]
    return gram, moments


def _indicators(codes: NDArray[np.int64], counts: Sequence[int], rows: int) -> Iterator[Floats]:
    """A column of 0 and 1 for each value of each choice, so many trials at once."""
    for start in range(0, len(codes), rows):
        part = codes[start : start + rows]
        yield np.concatenate(
            [(part[:, place, None] == np.arange(count)) for place, count in enumerate(counts)], axis=1
        ).astype(np.float64)


def _penalty(penalties: Floats, eigenvalues: Floats, along: Floats, rows: int) -> tuple[float, float]:
    """The penalty that generalised cross-validation picks, and the sum of squared residuals, for values of variance 1.

    If several penalties are about equally good, it is the smallest.
    """
    found = []
    for penalty in penalties.tolist():
        kept = 1 / (eigenvalues + penalty)
        squares = max(0.0, float(rows - (along**2 * kept * (2 - eigenvalues * kept)).sum()))
        degrees = float((eigenvalues * kept).sum()) + 1
        found.append((squares / max(rows - degrees, 1e-9) ** 2, penalty, squares))
    least = min(found)[0]
    return next((penalty, squares) for own, penalty, squares in found if own <= least * (1 + TIE))
