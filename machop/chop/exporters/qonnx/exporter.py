"""The exporter `qonnx`: one file for tools that read QONNX (FINN, hls4ml), verified by QONNX's own executor."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chop.errors import ExportError
from chop.exporters.base import EXPORTERS, Check, ExportNetwork, Written
from chop.exporters.circuit_exporter import CircuitExporter
from chop.exporters.integer_layers import IntegerLayers
from chop.exporters.qonnx.lowering import BATCH, OPSETS, qonnx_model

FILE = "model.onnx"

USAGE = """
The shapes are those of {batch} sample. For another number, and to run it:

```python
from qonnx.core.modelwrapper import ModelWrapper
from qonnx.core.onnx_exec import execute_onnx
from qonnx.transformation.change_batchsize import ChangeBatchSize
from qonnx.transformation.infer_shapes import InferShapes

model = ModelWrapper("{file}").transform(ChangeBatchSize(len(x))).transform(InferShapes())
outputs = execute_onnx(model, {{{inputs}}})["{output}"]
```

`x` is an array of float32, `(samples, {shape})`.
"""


@EXPORTERS.register("qonnx")
class Qonnx(CircuitExporter):
    """ONNX with Quant nodes (QONNX) of any bit width, in the file `model.onnx`.

    It has been through QONNX's own clean-up, as FINN and hls4ml read it.
    """

    target = "onnx"
    extra = "onnx"
    modules = ("onnx", "onnxruntime", "qonnx.core.modelwrapper")
    distributions = ("qonnx", "onnx", "onnxruntime")
    starts_in_float = False

    def problems(self, network: ExportNetwork) -> list[str]:
        """All reasons why there is no integer form; formats with one are taken, whatever their widths."""
        try:
            layers = IntegerLayers.of(network)
        except ExportError as error:
            return list(error.problems)
        return layers.input_problems()

    def write(self, network: ExportNetwork, folder: Path) -> Written:
        """Write the model, after the passes of `qonnx-cleanup`."""
        from qonnx.core.modelwrapper import ModelWrapper
        from qonnx.util.cleanup import cleanup_model

        layers = IntegerLayers.of(network)
        made, clamped = qonnx_model(layers, network.name)
        model = cleanup_model(ModelWrapper(made))
        model.save(str(folder / FILE))
        (shape,) = layers.inputs.values()
        text = USAGE.format(
            batch=BATCH,
            file=FILE,
            inputs=f'"{model.graph.input[0].name}": x',
            output=model.graph.output[0].name,
            shape=", ".join(map(str, shape)),
        )
        facts = {"opsets": {domain or "ai.onnx": own for domain, own in OPSETS.items()}, "operators": _counts(model)}
        notes = tuple(
            f"{name}: no bit width has the range of its format; a clamp stands before its Quant node, which FINN does "
            "not read"
            for name in clamped
        )
        return Written(facts, text, notes + layers.wide_sums())

    def checks(self, network: ExportNetwork, folder: Path) -> Iterator[Check]:
        """Run the file in QONNX's executor."""
        layers, model = IntegerLayers.of(network), QonnxModel(folder / FILE)
        pairs = ((model.run(layers.input_of(x)), wanted) for x, wanted in network.predictions())
        yield Check.of("QONNX executor", pairs)


def _counts(model: Any) -> dict[str, int]:
    """How often each operator occurs."""
    return dict(sorted(Counter(node.op_type for node in model.graph.node).items()))


class QonnxModel:
    """A file of QONNX that runs on batches of any size."""

    def __init__(self, path: Path) -> None:
        from qonnx.core.modelwrapper import ModelWrapper

        self._model = ModelWrapper(str(path))
        self._by_size: dict[int, Any] = {}

    def run(self, x: NDArray[np.float32]) -> NDArray[np.float64]:
        """The outputs for samples."""
        from qonnx.core.onnx_exec import execute_onnx

        model = self._of_size(len(x))
        found = execute_onnx(model, {model.graph.input[0].name: x})
        return np.asarray(found[model.graph.output[0].name], np.float64)

    def _of_size(self, samples: int) -> Any:
        from qonnx.transformation.change_batchsize import ChangeBatchSize
        from qonnx.transformation.infer_shapes import InferShapes

        if samples not in self._by_size:
            self._by_size[samples] = self._model.transform(ChangeBatchSize(samples)).transform(InferShapes())
        return self._by_size[samples]
