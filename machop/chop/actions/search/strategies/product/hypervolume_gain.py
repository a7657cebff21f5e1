"""Expected hypervolume gain of points whose metrics are predicted as normal distributions.

The region that a front leaves undominated is a union of boxes; in each the expected gain of a point with independent
normal values is a product over objectives (expected hypervolume improvement, exact: Emmerich, Deutz and Klinkenberg,
Hypervolume-based expected improvement, CEC 2011). Less is better in all objectives.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy  # its parts are imported when they are first used

Array = np.ndarray[Any, Any]
Boxes = tuple[Array, Array]
"""The lower and the upper corners, `(boxes, objectives)` each; a lower corner may be minus infinity."""


def undominated(front: Array, worst: Array) -> Boxes:
    """The boxes below `worst` `(objectives,)` that no point of `front` `(points, objectives)` dominates.

    >>> lower, upper = undominated(np.array([[1.0, 2.0]]), np.array([3.0, 3.0]))
    >>> upper.tolist()
    [[3.0, 2.0], [1.0, 3.0]]
    """
    if len(worst) == 1:
        upper = min([float(worst[0]), *front[:, 0].tolist()])
        return np.array([[-np.inf]]), np.array([[upper]])
    order = front[np.argsort(front[:, -1], kind="stable")]
    edges = np.concatenate([[-np.inf], np.minimum(order[:, -1], worst[-1]), worst[-1:]])
    lower, upper = [], []
    for count in range(len(order) + 1):
        if edges[count + 1] > edges[count]:
            low, high = undominated(order[:count, :-1], worst[:-1])
            lower.append(np.column_stack([low, np.full(len(low), edges[count])]))
            upper.append(np.column_stack([high, np.full(len(high), edges[count + 1])]))
    return np.concatenate(lower), np.concatenate(upper)


def expected_gain(boxes: Boxes, mean: Array, deviation: Array) -> Array:
    """The expected gain of points, `(points,)`, with values `mean` and `deviation` `(points, objectives)`.

    A deviation of 0 stands for a value that is known.
    """
    gain = np.zeros(len(mean))
    is_known = ~deviation.any(0)
    for lower, upper in zip(*boxes, strict=True):
        rows = np.flatnonzero((mean[:, is_known] < upper[is_known]).all(1))  # no other adds anything here
        own, spread = mean[rows], deviation[rows]
        gain[rows] += np.prod([_length(lower[o], upper[o], own[:, o], spread[:, o]) for o in range(len(upper))], axis=0)
    return gain


def _length(lower: float, upper: float, mean: Array, deviation: Array) -> Array:
    """The mean length of the interval above a normal value."""
    if not deviation.any():
        return np.maximum(0.0, upper - np.maximum(lower, mean))
    below = _below(upper, mean, deviation)
    return below if np.isinf(lower) else below - _below(lower, mean, deviation)


def _below(bound: float, mean: Array, deviation: Array) -> Array:
    """The mean of `max(0, bound − value)`."""
    safe = np.maximum(deviation, 1e-12)
    z = (bound - mean) / safe
    found: Array = safe * (z * scipy.special.ndtr(z) + np.exp(-0.5 * z * z) / np.sqrt(2 * np.pi))
    return found
