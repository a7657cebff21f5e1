"""The network in float, measured before a search: what fails for it fails for all others."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor

from chop.actions.search.strategies.runners.base import OutputRunner, RunnerBase, row_key
from chop.errors import ChopError, MetricError, SearchError, first_line
from chop.evaluation.plan_runner import PlanRunner
from chop.ir import QuantPlan
from chop.scoring.own_function_checks import check_own_functions
from chop.scoring.scores import score
from chop.tools.get_input import hint_on
from chop.tools.logger import get_logger

logger = get_logger(__name__)

LOSS = "loss"
"""A metric of the runners that score outputs by themselves."""

Rows = tuple[str, int | None]
"""A part of the data, and how many of its rows."""


def require_metrics(
    runners: Iterable[RunnerBase], data_module: Any, plan_runner_of: Callable[[Rows], PlanRunner]
) -> None:
    """Score the network in float, on the samples that each runner measures on.

    Raises MetricError where a metric of the data fails, and so would for all other networks; of runners that train
    first, which may mend that, it is a warning. Raises ChopError where data, model, loss or runner do not fit each
    other. `plan_runner_of` runs plans on some rows.
    """
    scored = {LOSS, *(data_module.metrics or ())}
    for runner in runners:
        is_of_outputs = isinstance(runner, OutputRunner)
        if not is_of_outputs and not scored & {metric.name for metric in runner.metrics}:
            continue
        try:
            with of_the_float_baseline():
                rows = plan_runner_of(_rows_of(runner))
                predictions = rows.predictions(QuantPlan())
                if isinstance(runner, OutputRunner):
                    runner.scored(predictions, rows.targets)
                else:
                    _score(data_module, predictions, rows.targets)
                check_own_functions(data_module.loss, data_module.metrics, predictions, rows.targets)
        except MetricError as error:
            if is_of_outputs:
                raise
            logger.warning("before training %s", error)


def _rows_of(runner: RunnerBase) -> Rows:
    if isinstance(runner, OutputRunner):
        return row_key(runner)
    options = runner.options
    return getattr(options, "data_loader", "val_dataloader"), getattr(options, "eval_samples", None)


def _score(data: Any, predictions: Tensor, targets: Tensor) -> None:
    score(predictions, targets, data.loss, data.metrics, data.dataset_info.num_classes)


@contextmanager
def of_the_float_baseline() -> Iterator[None]:
    """Say of what fails that it did on the network in float."""
    try:
        yield
    except MetricError as error:
        raise MetricError(f"the network in float: {error}") from error
    except ChopError:
        raise
    except Exception as error:  # of the model's own code
        raise SearchError(
            f"the network in float cannot be measured: {first_line(error)}{hint_on(error)} (--debug shows where)"
        ) from error
