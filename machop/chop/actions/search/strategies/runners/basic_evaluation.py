"""Loss and accuracy of the quantised network on rows that are the same for every trial."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from annotated_types import Gt
from torch import Tensor

from chop.actions.search.strategies.runners.base import RUNNERS, Metric, OutputRunner
from chop.evaluation.measures import Classification, Measure
from chop.scoring.bounds import RowValues
from chop.scoring.own_functions import call_loss
from chop.scoring.scores import per_sample_loss, score

Part = Literal["train_dataloader", "val_dataloader", "test_dataloader"]

CLASSIFICATION = (
    Metric("accuracy", "", "maximize", (0.0, 1.0)),
    Metric("accuracy_micro", "", "maximize", (0.0, 1.0)),
)


@dataclass(frozen=True)
class BasicEvaluationOptions:
    """The rows: the first `num_samples` of a part, unshuffled (absent: all of it)."""

    data_loader: Part = field(default="val_dataloader", metadata={"aliases": ("dataloader",)})
    num_samples: Annotated[int, Gt(0)] | None = None


@RUNNERS.register("basic_evaluation")
class BasicEvaluation(OutputRunner):
    """`loss` (mean per sample), `accuracy` (macro average), `accuracy_micro`, and the data set's own metrics."""

    Options = BasicEvaluationOptions

    @classmethod
    def metrics_of(cls, data_module: Any) -> tuple[Metric, ...]:
        own = getattr(data_module, "metrics", {}) or {}
        named = tuple(Metric(name, "", direction) for name, (_, direction) in own.items())
        classes = data_module is None or data_module.dataset_info.num_classes is not None
        return (Metric("loss", "", "minimize"), *(CLASSIFICATION if classes else ()), *named)

    def score(self, predictions: Tensor, targets: Tensor) -> dict[str, float]:
        return score(
            predictions,
            targets,
            data_module_loss=self.data_module.loss,
            metrics=self.data_module.metrics,
            num_classes=self.data_module.dataset_info.num_classes,
        )

    def row_values(self, predictions: Tensor, targets: Tensor) -> dict[str, RowValues]:
        loss, classes = self.data_module.loss, self.data_module.dataset_info.num_classes
        found: dict[str, RowValues] = {}
        if loss is None or call_loss(loss, predictions, targets).ndim > 0:
            values = per_sample_loss(predictions, targets, loss)
            found |= {"loss": RowValues(values)} if len(values) == len(targets) else {}
        if classes is not None and targets.ndim == 1:
            right = predictions.argmax(1) == targets
            found["accuracy"] = RowValues(right, is_hit=True, classes=predictions.shape[1])
            found["accuracy_micro"] = RowValues(right, is_hit=True)
        return found

    def batched(self, targets: Tensor, example: Tensor) -> Measure:
        classes = self.data_module.dataset_info.num_classes
        is_usual = self.data_module.loss is None and not self.data_module.metrics
        if is_usual and Classification.fits(targets, example, classes):
            return Classification(targets, classes)
        return super().batched(targets, example)
