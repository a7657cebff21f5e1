"""The runner `basic_train`: scores each configuration after a short fine-tuning."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated

from annotated_types import Gt

from chop.actions.search.strategies.runners.base import RUNNERS, ModelRunner
from chop.actions.search.strategies.runners.basic_evaluation import BasicEvaluation, Part
from chop.dataset.data import Data
from chop.evaluation.predictions import accumulated, stream
from chop.ir import MaseGraph
from chop.scoring.metric import Metric
from chop.training.fine_tuning import FineTuning, fine_tune


@dataclass(frozen=True)
class BasicTrainOptions(FineTuning):
    """Options of the training, and the samples to measure on: the first `eval_samples` of a data set (None: all)."""

    data_loader: Part = field(default="val_dataloader", metadata={"aliases": ("dataloader",)})
    eval_samples: Annotated[int, Gt(0)] | None = None


@RUNNERS.register("basic_train")
class BasicTrain(ModelRunner):
    """The metrics of `basic_evaluation` after fine-tuning the quantised network."""

    Options = BasicTrainOptions

    @classmethod
    def metrics_of(cls, data_module: Data | None) -> tuple[Metric, ...]:
        return BasicEvaluation.metrics_of(data_module)

    def adapt(self, graph: MaseGraph) -> None:
        device = str(next(graph.model.parameters()).device)
        fine_tune(graph.model, self.data_module, self.options, device=device)
        graph.measure_under_plan()

    def measure(self, graph: MaseGraph) -> dict[str, float]:
        self.adapt(graph)
        data = self.data_module
        device = str(next(graph.model.parameters()).device)
        rows = data.batches(self.options.data_loader, self.options.eval_samples)
        batches = stream(graph.model, rows, device, data.output)
        return accumulated(data.task.accumulator(), batches).result()
