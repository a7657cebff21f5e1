"""What a search can tell of a point from trying each alternative alone, and what that costs."""

from __future__ import annotations

from chop.actions.search.measurement import Measurement, row_key
from chop.actions.search.strategies.choice_levels import axis_bits
from chop.errors import ChopError, SearchError, first_line
from chop.evaluation.plan_runner import PlanRunner
from chop.evaluation.responses import Responses
from chop.ir import QuantPlan
from chop.tools.logger import get_logger
from chop.tools.threads import one_thread

logger = get_logger(__name__)

MOST_TRIED = 2_000
MOST_ADDED = 2**16
"""What a guess may add up: axes, times rows, times outputs of a row."""

FEWEST_ROWS = 32
"""Rows that still tell something."""


class Guessing:
    """Gives guesses about the points of a search; each number of rows is worked out once.

    Called with the number of training rows; None where there is no guess to be had: the space is no product or has too
    many alternatives, outputs are too many, or the model does not run on so many rows.
    """

    def __init__(self, measurement: Measurement) -> None:
        self._measurement = measurement
        self._known: dict[int, Responses | None] = {}
        self.remarks: list[str] = []
        """A line on what was tried."""

    def __call__(self, rows: int) -> Responses | None:
        if rows not in self._known:
            try:
                with one_thread():  # the same last digits whatever n_jobs is
                    self._known[rows] = self._tried(rows)
            except Exception as error:  # of the model's own code, on rows that it may not be made for
                why = str(error) if isinstance(error, ChopError) else first_line(error)
                logger.info("what is measured first is chosen without guesses: %s", why)
                self._known[rows] = None
        return self._known[rows]

    def _tried(self, rows: int) -> Responses:
        graph, data, device = self._measurement.graph, self._measurement.data_module, self._measurement.device
        axes = self._measurement.space.axes()
        if axes is None:
            raise SearchError("the space is no product of choices of nodes")
        runs = Responses.runs(axes)
        if runs > MOST_TRIED:
            raise SearchError(f"{runs:,} networks would have to be tried, more than {MOST_TRIED:,}")
        row = PlanRunner(graph, data.batches("train", 1), device).predictions(QuantPlan())
        fitting = min(rows, MOST_ADDED // (len(axes) * row.numel()))
        if fitting < min(rows, FEWEST_ROWS):
            raise SearchError(f"{len(axes) * row.numel():,} outputs a row, over all layers, are too many to add up")
        batches = data.batches("train", fitting)
        tried = sum(len(y) for _, y in batches)
        remark = f"{runs:,} networks with one layer changed are tried on {tried:,} training rows"
        remark += self._share(runs * tried)
        logger.info("guesses: %s", remark)
        fewest = [int(axis_bits(axis).argmin()) for axis in axes]
        found = Responses(graph, axes, fewest, batches, device, data.dataset_info.num_classes)
        self.remarks.append(remark)
        return found

    def _share(self, rows: int) -> str:
        """So many rows in evaluations, where these are runs on rows."""
        keys = {row_key(runner) for runner in self._measurement.output_runners}
        own = sum(len(y) for key in keys for _, y in self._measurement.data_module.batches(*key))
        return f", as many rows as {rows / own:,.3g} evaluations" if own else ""
