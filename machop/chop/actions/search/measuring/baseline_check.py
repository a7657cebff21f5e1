"""Checks before a search that every metric can be computed on the FP32 baseline; raises where one cannot."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from torch import Tensor

from chop.actions.search.measuring.runner_set import RunnerSet
from chop.actions.search.measuring.subject import Samples, Subject
from chop.actions.search.strategies.runners.base import RunnerBase, output_runners
from chop.errors import ChopError, MetricError, SearchError, first_line
from chop.ir import QuantPlan
from chop.scoring.own_function_checks import check_own_functions
from chop.scoring.task import Task
from chop.tools.get_input import hint_on
from chop.tools.logger import get_logger
from chop.tools.option_names import option

logger = get_logger(__name__)


def require_metrics(subject: Subject, runners: RunnerSet) -> None:
    """Score the FP32 baseline on the samples of each runner; raises if a metric fails.

    Raises MetricError where a metric of the data fails or is NaN, and so would for all other networks; of runners that
    train first, which may mend that, it is a warning. Raises ChopError where data, model, loss or runner do not fit
    each other.
    """
    scored = {metric.name for metric in subject.data_module.task.metrics}
    of_outputs = output_runners(runners.all)
    for runner in runners.all:
        is_of_outputs = runner in of_outputs
        if not is_of_outputs and not scored & {metric.name for metric in runner.metrics}:
            continue
        try:
            with of_the_float_baseline():
                _require_scores(subject, runner)
        except MetricError as error:
            if is_of_outputs:
                raise
            logger.warning("before training %s", error)


def _require_scores(subject: Subject, runner: RunnerBase) -> None:
    task: Task = subject.data_module.task
    rows = subject.plan_runner(_samples_of(runner))
    scoring = output_runners([runner])
    accumulator = scoring[0].accumulator() if scoring else task.accumulator()
    first: Tensor | None = None
    for outputs, targets in rows.stream(QuantPlan()):
        first = outputs if first is None else first
        accumulator.update(outputs, targets)
    _require_defined(scoring[0].result(accumulator) if scoring else accumulator.result(), len(rows.targets))
    assert first is not None
    check_own_functions(task.data_loss, task.data_metrics, first, rows.targets)


def _require_defined(metrics: Mapping[str, float], samples: int) -> None:
    """Raise MetricError for NaN, which would fail trial by trial; what overflows may be finite in narrow formats."""
    undefined = [name for name, value in metrics.items() if math.isnan(value)]
    if undefined:
        raise MetricError(
            f"metric '{undefined[0]}' is NaN on the {samples:,} samples that are measured: give samples on which it is "
            "defined (num_samples, data_loader), or leave the metric out"
        )


def _samples_of(runner: RunnerBase) -> Samples:
    """The number of samples that a runner scores, from whichever option states it."""
    options = runner.options
    samples = getattr(options, "num_samples" if runner.needs == "outputs" else "eval_samples", None)
    return getattr(options, "data_loader", "val_dataloader"), samples


@contextmanager
def of_the_float_baseline() -> Iterator[None]:
    """Add to an error that it happened on the FP32 baseline."""
    try:
        yield
    except MetricError as error:
        raise MetricError(f"the FP32 baseline: {error}") from error
    except ChopError:
        raise
    except Exception as error:  # of the model's own code
        raise SearchError(
            f"the FP32 baseline cannot be measured: {first_line(error)}{hint_on(error)} ({option('debug')} shows where)"
        ) from error
