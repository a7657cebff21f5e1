"""Costs of one integer network, added up over its stages."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from chop.circuits.liveness import Mask, live_elements
from chop.circuits.network import IntegerNetwork
from chop.circuits.stages import Stage
from chop.circuits.values import Range

Costs = tuple[float, ...]
StageCosts = Callable[[Stage, Stage | None, tuple[Range, ...], Mask], Costs]
"""The costs of a stage from its first source, the ranges that come in, and the elements of its result that matter."""


def network_costs(network: IntegerNetwork, costs: StageCosts, width: int) -> NDArray[np.float64]:
    """The sums `(width,)` of the costs of all stages."""
    live, ranges = live_elements(network), network.ranges
    by_name = {stage.name: stage for stage in network.stages}
    total = np.zeros(width)
    for stage in reversed(network.stages):
        source = by_name[stage.sources[0]] if stage.sources else None
        total += costs(stage, source, tuple(ranges[name] for name in stage.sources), live[stage.name])
    return total
