"""Tasks define how outputs are scored; and the registry of tasks."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from chop.errors import ChopError, InputError
from chop.registry import Registry, subclass_problem
from chop.scoring.accumulator import Accumulator, SampleMeans, Together
from chop.scoring.kept_outputs import KeptOutputs, OwnStream
from chop.scoring.losses import MeanLoss, per_sample_loss
from chop.scoring.metric import LOSS, Loss, Metric, UserMetric
from chop.scoring.outputs import with_samples
from chop.scoring.own_functions import streams

DEFAULT_TASK = "cls"
"""Classification; regression where the data have a loss and no classes."""

NOT_OFFERED = ("tran", "translation")
"""Names of tasks that commands know and that nothing here does."""


class Task(ABC):
    """A loss, metrics, and which of them training monitors.

    A task of your own is a subclass with `own_metrics` and `values`, registered in `TASKS`. `num_classes`, `loss` and
    `metrics` are what the data state: a loss of theirs replaces the task's, their metrics are measured besides.
    """

    own_metrics: tuple[Metric, ...] = (LOSS,)
    monitor: str = "loss"
    """The metric by which training chooses its best weights."""
    reads_tokens: ClassVar[bool] = False
    """Whether the data may leave out targets: then they are the tokens that are the input."""
    targets_are_values: ClassVar[bool] = False
    """Whether targets are numbers to be met, also where all are whole."""

    def __init__(
        self,
        num_classes: int | None = None,
        loss: Loss | None = None,
        metrics: Mapping[str, UserMetric] | None = None,
    ) -> None:
        self.num_classes = num_classes
        self.data_loss = loss
        self.data_metrics = dict(metrics or {})

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """All metrics: those of the task, then those of the data."""
        return (*self.own_metrics, *_metrics_of_data(self.data_metrics))

    @property
    def monitored(self) -> Metric:
        """The metric by which training chooses its best weights."""
        return next(metric for metric in self.metrics if metric.name == self.monitor)

    @abstractmethod
    def values(self, outputs: Tensor, targets: Tensor) -> Mapping[str, Tensor]:
        """The task's metrics for each sample, `{name: (samples,)}`, `loss` among them, of outputs `(samples, …)`.

        Each metric is the mean of its values. A task whose metrics are no means over samples has `accumulators`, too.
        """

    def losses(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """The loss of each sample, token or pixel that has a label, `(n,)`."""
        if self.data_loss is not None:
            return per_sample_loss(outputs, targets, self.data_loss)
        return self.values(outputs, targets)["loss"]

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor | None:
        """The mean loss of a batch, which training descends; None where nothing in it has a label.

        Raises ChopError for a loss without a gradient.
        """
        if targets.dtype is torch.float64 and outputs.dtype is not torch.float64:
            targets = targets.to(outputs.dtype)  # NumPy's usual type, which would set that of the gradients
        if len(targets) == 1:
            outputs = with_samples(outputs, 1)
        values = self.losses(outputs, targets)
        if not len(values):
            return None
        mean = values.mean()
        if not mean.requires_grad:
            raise ChopError(
                "the loss has no gradient, so nothing can be trained on it: let it work on tensors alone (without "
                "detach, item, numpy, argmax)"
            )
        return mean

    def imitation_loss(self, outputs: Tensor, taught: Tensor, targets: Tensor) -> Tensor | None:
        """How far outputs are from those of another network, `taught`, of the same shape: the mean squared error.

        None where nothing in the batch has a label. A task of classes overrides it.
        """
        return F.mse_loss(outputs, taught)

    def accumulators(self, kept: KeptOutputs, by_sample: bool) -> list[Accumulator]:
        """Accumulators of the task's own metrics. `kept` keeps all outputs if a loss of the data needs them at once."""
        if self.data_loss is None:
            return [SampleMeans(self.values)]
        return [MeanLoss(self.data_loss, kept), SampleMeans(self._values_but_loss)]

    def _values_but_loss(self, outputs: Tensor, targets: Tensor) -> dict[str, Tensor]:
        return {name: own for name, own in self.values(outputs, targets).items() if name != LOSS.name}

    def accumulator(self, by_sample: bool = False) -> Accumulator:
        """A new accumulator of all metrics.

        `by_sample`: it also keeps what intervals and early stopping need of each sample.
        """
        functions = {name: own for name, (own, _) in self.data_metrics.items() if not streams(own)}
        kept = KeptOutputs(functions)
        own = [OwnStream(name, made()) for name, (made, _) in self.data_metrics.items() if streams(made)]
        return Together([*self.accumulators(kept, by_sample), *own, kept])

    def require_data(self, x: Any, targets: Tensor) -> None:  # noqa: B027 - most tasks take any data
        """Raise ChopError for an input and targets that the task cannot mean."""


TASKS: Registry[type[Task]] = Registry(
    "chop.tasks",
    "task",
    (
        "chop.scoring.classification",
        "chop.scoring.language_model",
        "chop.scoring.regression",
        "chop.scoring.segmentation",
    ),
    subclass_problem(Task),
)


def task_class(name: str) -> type[Task]:
    """The task `name`; raises UnknownNameError for an unknown one, InputError for translation."""
    if name in NOT_OFFERED:
        raise InputError(
            f"task '{name}': translation is not offered (a model that writes one token after the other is not "
            f"measured); choose one of {', '.join(TASKS.names())}"
        )
    return TASKS[name]


def task_of(
    name: str,
    num_classes: int | None = None,
    loss: Loss | None = None,
    metrics: Mapping[str, UserMetric] | None = None,
) -> Task:
    """The task `name` for these data; classification of data with a loss and without classes is regression."""
    is_regression = TASKS.canonical(name) == "classification" and num_classes is None and loss is not None
    return task_class("regression" if is_regression else name)(num_classes, loss, metrics)


def _metrics_of_data(metrics: Mapping[str, UserMetric]) -> tuple[Metric, ...]:
    return tuple(Metric(name, "", direction) for name, (_, direction) in metrics.items())  # type: ignore[arg-type]
