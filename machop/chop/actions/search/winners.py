"""The best rows of a search, measured once more as networks of their own, and the network in float beside them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from chop.actions.search.measurement import FLOAT_CONFIG, Measurement
from chop.errors import MetricError
from chop.ir.trial import BestRow, Trial
from chop.report.search_progress import each_shown
from chop.tools.logger import get_logger

logger = get_logger(__name__)

FLOAT_ROW = -1


def measured_again(measurement: Measurement, best: Sequence[BestRow]) -> list[BestRow]:
    """The rows with their metrics on the whole test part; raises SearchError where one has other figures on its own."""
    return [_measured_again(measurement, row) for row in each_shown(best, "winners again")]


def _measured_again(measurement: Measurement, row: BestRow) -> BestRow:
    graph = measurement.check_singly(row.sampled_config, row.trial.metrics)
    if not measurement.eval_mode:  # running it has moved its running statistics
        graph = measurement.rebuild(row.sampled_config)
    return replace(row, test_metrics=measurement.test_metrics(graph))


def float_row(measurement: Measurement) -> BestRow | None:
    """The network in float, as a row to compare with."""
    try:
        measured = measurement.measure_float()
    except MetricError as error:
        logger.warning("the network in float has no row: %s", error)
        return None
    trial = Trial(FLOAT_ROW, {}, measured.software, measured.hardware, {})
    return BestRow(trial, (), FLOAT_CONFIG, measurement.test_metrics(measurement.rebuild(FLOAT_CONFIG)))
