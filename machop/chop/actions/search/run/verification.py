"""The best rows of a search, measured once more as networks of their own, and the network in float beside them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from chop.actions.search.measuring.single import FLOAT_CONFIG, Measurement
from chop.errors import SearchError, first_line
from chop.ir import MaseGraph
from chop.record.trial import BestRow, TestMetrics, Trial
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
    return replace(row, test_metrics=_on_test(measurement, graph))


def float_row(measurement: Measurement) -> BestRow | None:
    """The network in float, as a row to compare with."""
    try:
        measured = measurement.measure_float()
    except SearchError as error:
        logger.warning("the table has no row of the network in float: %s", error)
        return None
    trial = Trial(FLOAT_ROW, {}, measured.software, measured.hardware, {})
    return BestRow(trial, (), FLOAT_CONFIG, _on_test(measurement, measurement.rebuild(FLOAT_CONFIG)))


def _on_test(measurement: Measurement, graph: MaseGraph) -> TestMetrics | None:
    """Scores on the test part; None, with a warning, where the model, a loss or a metric fails on it."""
    try:
        return measurement.test_metrics(graph)
    except Exception as error:  # of the user's own code, when all else is done
        logger.warning("a network is not measured on the test part: %s", first_line(error))
        return None
