"""The runner of latency that is measured in ONNX Runtime, on this machine."""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass
from math import inf
from typing import TYPE_CHECKING, Annotated

from annotated_types import Ge, Gt

from chop.actions.search.strategies.runners.base import RUNNERS, ModelRunner
from chop.actions.search.strategies.runners.basic_evaluation import Part
from chop.dataset.data import Data, first_batch
from chop.errors import ExportError, MetricError
from chop.exporters.base import ExportNetwork
from chop.ir import MaseGraph
from chop.scoring.metric import Metric

if TYPE_CHECKING:
    import onnx


@dataclass(frozen=True)
class OrtLatencyOptions:
    """The samples of a call: the first `batch_size` of `data_loader`; calls before the clock starts, and timed ones."""

    data_loader: Part = "val_dataloader"
    batch_size: Annotated[int, Gt(0)] = 1
    warm_up: Annotated[int, Ge(0)] = 20
    repeats: Annotated[int, Ge(4)] = 200


@RUNNERS.register("ort_latency")
class OrtLatency(ModelRunner):
    """Measured microseconds of one sample in ONNX Runtime on one thread: median and interquartile range (extra `onnx`).

    The network is exported as `ch export --to onnx` does, in the exact form that runs fastest here. A network that ONNX
    cannot express has no latency. Seconds for each network: leave it to the best ones.
    """

    Options = OrtLatencyOptions

    @classmethod
    def metrics_of(cls, data_module: Data | None) -> tuple[Metric, ...]:
        return (
            Metric("ort_latency", "us/sample", "minimize", (0.0, inf)),
            Metric("ort_latency_iqr", "us/sample", "minimize", (0.0, inf)),
        )

    def measure(self, graph: MaseGraph) -> dict[str, float]:
        from chop.exporters.onnx.exporter import Onnx
        from chop.exporters.onnx.runtime import feeds_of, session_of

        Onnx.require_packages()
        session = session_of(self._model(graph).SerializeToString())
        samples = self.options.batch_size
        x, _ = first_batch(self.data_module, self.options.data_loader, samples, samples)
        feeds = feeds_of(session, graph, x)
        seconds = []
        for _ in range(self.options.warm_up + self.options.repeats):
            begin = time.perf_counter()
            session.run(None, feeds)
            seconds.append(time.perf_counter() - begin)
        low, median, high = statistics.quantiles(seconds[self.options.warm_up :], n=4)
        return {"ort_latency": median / samples * 1e6, "ort_latency_iqr": (high - low) / samples * 1e6}

    def _model(self, graph: MaseGraph) -> onnx.ModelProto:
        """The network in ONNX; raises MetricError where ONNX cannot express it."""
        from chop.exporters.onnx.exporter import onnx_model_of
        from chop.exporters.onnx.lowering import in_float
        from chop.exporters.onnx.skeleton import skeleton_of

        network = ExportNetwork(graph, self.data_module)
        try:
            return onnx_model_of(network) if list(graph.plan) else in_float(skeleton_of(network))
        except ExportError as error:
            raise MetricError.of(error) from error
