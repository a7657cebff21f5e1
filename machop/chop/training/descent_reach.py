"""Tells while widths are trained whether networks become small enough for the descents that are asked for."""

from __future__ import annotations

import math
from typing import Protocol

from chop.tools.logger import get_logger

logger = get_logger(__name__)


class ReachOptions(Protocol):
    """What is read of the options of a training."""

    @property
    def descends(self) -> bool:
        """Whether networks of the run are settled, or descended further behind it."""

    @property
    def descent_tries(self) -> int:
        """Changes that a descent tries on each network of the run; 0: none is settled."""

    @property
    def descent_below(self) -> float:
        """The EBOPs above which there are no descents."""

    @property
    def snapshots(self) -> int:
        """Networks of the run."""


class DescentReach:
    """The least cost of the networks of a run so far, beside the cost below which they are descended."""

    def __init__(self, options: ReachOptions) -> None:
        self.options = options
        self.least = math.inf

    def saw(self, cost: float, number: int) -> None:
        """Note the cost of network `number` of the run, from 1; tell at half of the run, and warn at its end."""
        options = self.options
        self.least = min(self.least, cost)
        if not options.descends or self.least <= options.descent_below:
            return
        if number == options.snapshots and options.descent_tries:
            logger.warning(
                "no network of the run has descent_below = %g EBOPs or fewer (the least: %g), so that none was settled "
                "by a descent: raise descent_below, or last_factor",
                options.descent_below,
                round(self.least),
            )
        elif number == (options.snapshots + 1) // 2 < options.snapshots:
            logger.info(
                "half of the run is done, and the networks have %g EBOPs or more; descents need %g or fewer "
                "(descent_below). If the run ends above that, there are none: to have some, stop, and raise "
                "descent_below or last_factor",
                round(self.least),
                options.descent_below,
            )
