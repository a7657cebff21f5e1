"""The network in float, measured before a search: what fails for it fails for all others."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from chop.actions.search.strategies.runners.base import OutputRunner, RunnerBase, row_key
from chop.errors import ChopError, MetricError, SearchError
from chop.evaluation.plan_runner import PlanRunner
from chop.evaluation.scores import score
from chop.ir import QuantPlan
from chop.tools.logger import get_logger

logger = get_logger(__name__)

Rows = tuple[str, int | None]
"""A part of the data, and how many of its rows."""


def require_metrics(
    runners: Iterable[RunnerBase], data_module: Any, plan_runner_of: Callable[[Rows], PlanRunner]
) -> None:
    """Raise MetricError where a metric of the data fails for the network in float, and so for all others.

    Of runners that train first, which may mend that, it is a warning. `plan_runner_of` runs plans on some rows.
    """
    own = set(data_module.metrics or ())
    for runner in (one for one in runners if own & {metric.name for metric in one.metrics}):
        try:
            with of_the_float_network():
                _score(data_module, plan_runner_of(_rows_of(runner)))
        except MetricError as error:
            if isinstance(runner, OutputRunner):
                raise
            logger.warning("before training %s", error)


def _rows_of(runner: RunnerBase) -> Rows:
    if isinstance(runner, OutputRunner):
        return row_key(runner)
    options = runner.options
    return getattr(options, "data_loader", "val_dataloader"), getattr(options, "eval_samples", None)


def _score(data: Any, rows: PlanRunner) -> None:
    score(rows.predictions(QuantPlan()), rows.targets, data.loss, data.metrics, data.dataset_info.num_classes)


@contextmanager
def of_the_float_network() -> Iterator[None]:
    """Say of what fails that it did on the network in float."""
    try:
        yield
    except MetricError as error:
        raise MetricError(f"the network in float: {error}") from error
    except ChopError:
        raise
    except Exception as error:  # of the model's own code
        raise SearchError(
            f"the network in float cannot be measured: {type(error).__name__}: {error} (--debug shows where)"
        ) from error
