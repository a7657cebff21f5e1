"""The runner `basic_evaluation`: scores the outputs of a quantised network on fixed samples."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Literal

from annotated_types import Gt
from torch import Tensor

from chop.actions.search.strategies.runners.base import RUNNERS, OutputRunner
from chop.dataset.data import Data
from chop.evaluation.measures import Classification as ClassificationMeasure
from chop.evaluation.measures import Measure
from chop.scoring.accumulator import Accumulator
from chop.scoring.classification import Classification
from chop.scoring.metric import Metric

ON_ANY_DATA = Classification(num_classes=1).metrics
Part = Literal["train_dataloader", "val_dataloader", "test_dataloader"]


@dataclass(frozen=True)
class BasicEvaluationOptions:
    """The samples: the first `num_samples` of a data set, unshuffled (None: all)."""

    data_loader: Part = field(default="val_dataloader", metadata={"aliases": ("dataloader",)})
    num_samples: Annotated[int, Gt(0)] | None = None


@RUNNERS.register("basic_evaluation")
class BasicEvaluation(OutputRunner):
    """Metrics of the task and of the data; for classes `loss`, `accuracy` (macro average), `accuracy_micro`."""

    Options = BasicEvaluationOptions

    @classmethod
    def metrics_of(cls, data_module: Data | None) -> tuple[Metric, ...]:
        return ON_ANY_DATA if data_module is None else data_module.task.metrics

    def accumulator(self, by_sample: bool = False) -> Accumulator:
        return self.data_module.task.accumulator(by_sample)

    def batched(self, targets: Tensor, example: Tensor) -> Measure:
        task = self.data_module.task
        is_usual = type(task) is Classification and task.data_loss is None and not task.data_metrics
        classes = task.num_classes
        if is_usual and classes is not None and ClassificationMeasure.fits(targets, example, classes):
            return ClassificationMeasure(targets, classes)
        return super().batched(targets, example)
