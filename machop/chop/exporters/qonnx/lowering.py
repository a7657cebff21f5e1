"""Writes roundings as Quant nodes, and parameters as constants behind a Quant or BipolarQuant node."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from chop.circuits.stages import Affine, Port, Round
from chop.exporters.integer_layers import IntegerLayers
from chop.exporters.qonnx.operators import OnnxLowering
from chop.exporters.qonnx.quantisers import Bipolar, Floats, Quantiser, constant_in, rounding_to

if TYPE_CHECKING:
    import onnx

DOMAIN = "qonnx.custom_op.general"
OPSETS = {"": 17, DOMAIN: 2}
BATCH = 1
"""Samples of the model's input: QONNX and what reads it want all shapes known."""


def qonnx_model(layers: IntegerLayers, name: str) -> tuple[onnx.ModelProto, tuple[str, ...]]:
    """The model of a network, and the roundings whose range took a clamp before their Quant node."""
    lowering = QonnxLowering(layers)
    output = lowering.add_all()
    inputs = {own: (BATCH, *shape) for own, shape in layers.inputs.items()}
    outputs = {output: (BATCH, *layers.shapes[output])}
    return lowering.graph.model(name, inputs, outputs, OPSETS), tuple(lowering.clamped)


class QonnxLowering(OnnxLowering):
    """The dialect of QONNX."""

    def __init__(self, layers: IntegerLayers) -> None:
        super().__init__(layers)
        self.clamped: list[str] = []

    def add_rounding(self, stage: Port | Round, source: str) -> None:
        """Add a Quant node, and a clamp before it where its range is not that of a bit width."""
        found = rounding_to(stage.grid, isinstance(stage, Round) and stage.is_relu)
        self._add_quant(self._clamped(stage.name, source, found), found, stage.name)

    def add_constant(self, stage: Affine, operand: str, shape: tuple[int, ...], axes: tuple[int, ...]) -> str | None:
        """Add the quantised values, and a Quant or BipolarQuant node that leaves them as they are."""
        values, parameter = self.layers.constants(stage, operand), self.layers.parameter(stage, operand)
        if values is None or parameter is None:
            return None
        name = f"{stage.name}_{operand}"
        made = constant_in(self.layers.format(stage, operand), parameter, values)
        floats = values.as_float().astype(np.float32).reshape(shape).transpose(axes)
        source = self.graph.constant(f"{name}_values", floats)
        scale = _moved(made.scale, parameter.ndim, shape, axes)
        if isinstance(made, Bipolar):
            steps = self.graph.constant(f"{name}_scale", scale)
            return self.graph.add("BipolarQuant", [source, steps], name, domain=DOMAIN)
        return self._add_quant(source, made, name, scale)

    def _add_quant(self, source: str, made: Quantiser, name: str, scale: Floats | None = None) -> str:
        graph = self.graph
        steps = graph.constant(f"{name}_scale", made.scale if scale is None else scale)
        zero = graph.constant(f"{name}_zeropt", np.float32(0.0))
        bits = graph.constant(f"{name}_bitwidth", np.float32(made.bits))
        settings = {"signed": int(made.is_signed), "narrow": int(made.is_narrow)}
        mode = "FLOOR" if made.rounds_down else "ROUND"
        return graph.add("Quant", [source, steps, zero, bits], name, domain=DOMAIN, **settings, rounding_mode=mode)

    def _clamped(self, name: str, source: str, found: Quantiser) -> str:
        if found.low is None or found.high is None:
            return source
        self.clamped.append(name)
        ends = [
            self.graph.constant(f"{name}_{which}", end) for which, end in (("low", found.low), ("high", found.high))
        ]
        if found.low.ndim == found.high.ndim == 0:
            return self.graph.add("Clip", [source, *ends], f"{name}_clamped")
        raised = self.graph.add("Max", [source, ends[0]], f"{name}_raised")
        return self.graph.add("Min", [raised, ends[1]], f"{name}_clamped")


def _moved(scale: Floats, ndim: int, shape: tuple[int, ...], axes: tuple[int, ...]) -> Floats:
    """A scale that broadcasts to a parameter of `ndim` axes, for its values reshaped to `shape` and permuted."""
    if scale.size == 1:
        return scale.reshape(())
    if len(shape) != ndim:  # the parameter has one axis, its channels, which is the longest of `shape`
        return scale.reshape(shape)
    return scale.reshape((1,) * (ndim - scale.ndim) + scale.shape).transpose(axes)
