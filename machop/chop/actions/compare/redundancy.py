"""Finds redundant metrics: those that are constant over the space, and pairs that rank points alike."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations
from typing import Any

import numpy as np

from chop.actions.compare.statistics import ranks
from chop.record.goals import Goals

Array = np.ndarray[Any, Any]
SAME = 0.95
"""Rank correlation from which two objectives count as the same."""

RELATED = 0.8
"""Rank correlation from which a front of accuracy and loss holds hardly a trade-off."""

Correlations = dict[tuple[str, str], float]


def rank_correlations(metrics: Mapping[str, Array]) -> Correlations:
    """Spearman's rank correlation of every two metrics that vary, over the points that have all of them.

    >>> found = rank_correlations({"a": np.array([1.0, 2.0, 3.0]), "b": np.array([1.0, 4.0, 9.0])})
    >>> round(found["a", "b"], 9)
    1.0
    """
    kept = np.logical_and.reduce([np.isfinite(values) for values in metrics.values()])
    columns = {name: ranks(values[kept]) for name, values in metrics.items()}
    varying = {name: own - own.mean() for name, own in columns.items() if len(own) > 1 and np.ptp(own) > 0}
    norms = {name: float(np.linalg.norm(own)) for name, own in varying.items()}
    return {(a, b): float(varying[a] @ varying[b] / (norms[a] * norms[b])) for a, b in combinations(varying, 2)}


def constant_objectives(metrics: Mapping[str, Array], goals: Goals) -> dict[str, float]:
    """The objectives that are constant over all points with metrics, and their values."""
    finite = {o.metric: metrics[o.metric][np.isfinite(metrics[o.metric])] for o in goals.objectives}
    return {name: float(own[0]) for name, own in finite.items() if len(own) > 1 and np.ptp(own) == 0}


def constant_remarks(metrics: Mapping[str, Array], goals: Goals, is_drawn: bool) -> list[str]:
    """Remarks on constant objectives; `is_drawn`: at least two others are left for a picture of the front.

    >>> from chop.record.trial import Objective
    >>> goals = Goals((Objective("accuracy"), Objective("flops", direction="minimize")))
    >>> constant_remarks({"accuracy": np.array([0.1, 0.2]), "flops": np.array([9.0, 9.0])}, goals, is_drawn=True)
    ['Warning: flops is the same (9) for all configurations and decides nothing: leave it out.']
    """
    same = constant_objectives(metrics, goals)
    told = [
        f"Warning: {name} is the same ({value:.6g}) for all configurations and decides nothing: leave it out."
        for name, value in same.items()
    ]
    if told and not is_drawn and len(goals.names) > 1:
        told.append("There is no picture of the front: fewer than two objectives vary.")
    return told


def redundancy_remarks(correlations: Correlations, goals: Goals) -> list[str]:
    """Remarks on correlated objectives, and on accuracy and loss, whether they are objectives or not."""
    ways = {o.metric: o.turn for o in goals.objectives}
    remarks = []
    for (a, b), rho in correlations.items():
        if a in ways and b in ways and rho * ways[a] * ways[b] >= SAME:
            remarks.append(
                f"Warning: the objectives {a} and {b} say the same (rank correlation {rho:+.3f}): what is better in "
                "one is better in the other. Leave one out; the front is smaller and found sooner."
            )
        elif {a, b} == {"accuracy", "loss"}:
            remarks.append(_accuracy_and_loss(rho))
    return remarks


def _accuracy_and_loss(rho: float) -> str:
    if rho <= -SAME:
        told = "they rank the configurations alike, so one of them is enough as an objective"
    elif rho <= -RELATED:
        told = "they rank most configurations alike, so a front of the two holds hardly a trade-off"
    elif rho < 0:
        told = "they agree in tendency only, so each may choose other configurations"
    else:
        told = "a configuration with a better accuracy does not tend to have a better loss"
    return f"Accuracy and loss have a rank correlation of {rho:+.3f}: {told}."
