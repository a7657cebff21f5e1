"""Writes the stages of an integer network as operators of ONNX; roundings and constants are left to a dialect."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from chop.circuits.stages import Add, Affine, Clip, Maximum, Port, Round, Select, Stage
from chop.exporters.integer_layers import IntegerLayers, Window, axes_of

if TYPE_CHECKING:
    import onnx


class OnnxGraph:
    """Nodes and constants of an ONNX graph that is being written; every tensor is called by what it holds."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, onnx.TensorProto] = {}

    def constant(self, name: str, value: NDArray[Any] | np.generic) -> str:
        """Add a constant tensor, and return its name."""
        from onnx import numpy_helper

        self.constants[name] = numpy_helper.from_array(np.array(value, order="C"), name)
        return name

    def add(self, operator: str, sources: list[str], result: str, domain: str = "", **settings: Any) -> str:
        """Add a node that computes the tensor `result`, and return that name."""
        from onnx import helper

        self.nodes.append(helper.make_node(operator, sources, [result], name=result, domain=domain, **settings))
        return result

    def model(
        self,
        name: str,
        inputs: Mapping[str, tuple[int | str, ...]],
        outputs: Mapping[str, tuple[int | str, ...]],
        opsets: Mapping[str, int],
    ) -> onnx.ModelProto:
        """The whole model, with float inputs and outputs of these shapes."""
        from onnx import TensorProto, helper

        sources, results = (
            [helper.make_tensor_value_info(own, TensorProto.FLOAT, list(shape)) for own, shape in values.items()]
            for values in (inputs, outputs)
        )
        graph = helper.make_graph(self.nodes, name, sources, results, initializer=list(self.constants.values()))
        versions = [helper.make_opsetid(domain, version) for domain, version in opsets.items()]
        return helper.make_model(graph, opset_imports=versions, ir_version=10, producer_name="chop")


class OnnxLowering(ABC):
    """Writes the stages of `layers`, each as one tensor called like the stage."""

    def __init__(self, layers: IntegerLayers) -> None:
        self.layers = layers
        self.graph = OnnxGraph()

    @abstractmethod
    def add_rounding(self, stage: Port | Round, source: str) -> None:
        """Add a rounding to a format."""

    @abstractmethod
    def add_constant(self, stage: Affine, operand: str, shape: tuple[int, ...], axes: tuple[int, ...]) -> str | None:
        """Add a layer's `weight` or `bias`, and return its name; None where it has none.

        It is reshaped to `shape`, and its axes are put in the order `axes`.
        """

    def add_all(self) -> str:
        """Add all stages, and return the name of the output."""
        for stage in (*self.layers.front, *self.layers.stages):
            self._add(stage)
        return self.layers.stages[-1].name

    def _add(self, stage: Stage) -> None:
        if isinstance(stage, Port):
            self.add_rounding(stage, self.layers.source_of(stage))
        elif isinstance(stage, Round):
            source = stage.sources[0]
            self.add_rounding(stage, self._relu(source, f"{stage.name}_relu") if stage.is_relu else source)
        elif isinstance(stage, Affine):
            self._add_affine(stage)
        elif isinstance(stage, Maximum):
            window = self.layers.window(stage)
            more: dict[str, Any] = (
                {"dilations": list(window.dilation)} if any(own > 1 for own in window.dilation) else {}
            )
            more |= {"ceil_mode": 1} if window.ceil_mode else {}
            self.graph.add("MaxPool", [*stage.sources], stage.name, **_pooled(window), **more)
        elif isinstance(stage, Clip):
            self._add_clip(stage)
        elif isinstance(stage, Add):
            self.graph.add("Sub" if stage.subtracts else "Add", [*stage.sources], stage.name)
        elif isinstance(stage, Select):
            self._add_select(stage)
        else:
            raise AssertionError(f"no operator for {stage}")

    def _relu(self, source: str, name: str) -> str:
        return self.graph.add("Relu", [source], name)

    def _add_affine(self, stage: Affine) -> None:
        name = self.layers.op_name(stage)
        if name == "linear":
            self._add_linear(stage)
        elif name.startswith("conv"):
            self._add_convolution(stage)
        elif name.startswith("batch_norm"):
            self._add_norm(stage)
        else:
            self.graph.add(
                "AveragePool", [*stage.sources], stage.name, **_pooled(self.layers.window(stage)), count_include_pad=1
            )

    def _add_linear(self, stage: Affine) -> None:
        outputs, inputs = stage.weight.shape[1:]
        weight = self._required(stage, (outputs, inputs), (1, 0))
        bias = self.add_constant(stage, "bias", (outputs,), (0,))
        self._product_and_sum("MatMul", stage, weight, bias)

    def _add_norm(self, stage: Affine) -> None:
        shape = (1, len(stage.weight), *[1] * (len(stage.shape) - 1))
        axes = tuple(range(len(shape)))
        bias = self.add_constant(stage, "bias", shape, axes)
        self._product_and_sum("Mul", stage, self._required(stage, shape, axes), bias)

    def _product_and_sum(self, operator: str, stage: Affine, weight: str, bias: str | None) -> None:
        product = stage.name if bias is None else f"{stage.name}_product"
        self.graph.add(operator, [stage.sources[0], weight], product)
        if bias is not None:
            self.graph.add("Add", [product, bias], stage.name)

    def _add_convolution(self, stage: Affine) -> None:
        window = self.layers.window(stage)
        shape = (
            stage.weight.shape[0] * stage.weight.shape[1],
            stage.weight.shape[2] // int(np.prod(window.kernel)),
            *window.kernel,
        )
        weight = self._required(stage, shape, tuple(range(len(shape))))
        bias = self.add_constant(stage, "bias", shape[:1], (0,))
        more: dict[str, Any] = {"dilations": list(window.dilation), "group": window.groups}
        sources = [stage.sources[0], weight, *([] if bias is None else [bias])]
        self.graph.add("Conv", sources, stage.name, **_pooled(window), **more)

    def _required(self, stage: Affine, shape: tuple[int, ...], axes: tuple[int, ...]) -> str:
        weight = self.add_constant(stage, "weight", shape, axes)
        assert weight is not None
        return weight

    def _add_clip(self, stage: Clip) -> None:
        if stage.low == 0 and stage.high is None:
            self._relu(stage.sources[0], stage.name)
            return
        bounds = [
            ""
            if end is None
            else self.graph.constant(f"{stage.name}_{which}", _step(stage.bound_frac) * np.float32(end))
            for which, end in (("low", stage.low), ("high", stage.high))
        ]
        self.graph.add("Clip", [stage.sources[0], *bounds], stage.name)

    def _add_select(self, stage: Select) -> None:
        if len(stage.sources) == 1:
            self._add_movement(stage, stage.sources[0], self.layers.shapes[stage.sources[0]])
            return
        shapes = [self.layers.shapes[source] for source in stage.sources]
        starts = np.cumsum([0, *(int(np.prod(shape)) for shape in shapes)])
        numbers = [
            np.arange(start, end).reshape(shape) for start, end, shape in zip(starts, starts[1:], shapes, strict=False)
        ]
        for axis in range(len(stage.shape)):
            if _joins(numbers, stage.index.reshape(stage.shape), axis):
                self.graph.add("Concat", [*stage.sources], stage.name, axis=axis + 1)
                return
        flat = [
            self._reshaped(source, f"{stage.name}_flat{place}", (-1,)) for place, source in enumerate(stage.sources)
        ]
        joined = self.graph.add("Concat", flat, f"{stage.name}_joined", axis=1)
        self._add_movement(stage, joined, (int(starts[-1]),))

    def _add_movement(self, stage: Select, source: str, shape: tuple[int, ...]) -> None:
        """Reshape, permute, or else pick the elements of one tensor."""
        size = int(np.prod(shape))
        if np.array_equal(stage.index, np.arange(size)):
            self._reshaped(source, stage.name, stage.shape)
            return
        axes = axes_of(stage.index, shape) if stage.index.size == size else None
        if axes is not None:
            moved = stage.name if tuple(shape[axis] for axis in axes) == stage.shape else f"{stage.name}_moved"
            self.graph.add("Transpose", [source], moved, perm=[0, *(axis + 1 for axis in axes)])
        else:
            flat = self._reshaped(source, f"{stage.name}_flat", (-1,))
            index = self.graph.constant(f"{stage.name}_index", stage.index)
            moved = f"{stage.name}_moved" if len(stage.shape) != 1 else stage.name
            self.graph.add("Gather", [flat, index], moved, axis=1)
        if moved != stage.name:
            self._reshaped(moved, stage.name, stage.shape)

    def _reshaped(self, source: str, name: str, shape: tuple[int, ...]) -> str:
        if len(shape) == 1:
            return self.graph.add("Flatten", [source], name, axis=1)
        to = self.graph.constant(f"{name}_shape", np.array([0, *shape], np.int64))
        return self.graph.add("Reshape", [source, to], name)


def _pooled(window: Window) -> dict[str, Any]:
    """The attributes that all operators with a window have."""
    pads = [before for before, _ in window.padding] + [after for _, after in window.padding]
    return {"kernel_shape": list(window.kernel), "strides": list(window.stride), "pads": pads}


def _joins(numbers: list[NDArray[np.int64]], wanted: NDArray[np.int64], axis: int) -> bool:
    """Whether arrays put one behind the other along an axis are `wanted`."""
    shapes = {own.shape[:axis] + own.shape[axis + 1 :] for own in numbers}
    if len({own.ndim for own in numbers} | {wanted.ndim}) > 1 or len(shapes) > 1:
        return False
    return np.array_equal(np.concatenate(numbers, axis), wanted)


def _step(frac: int) -> np.float32:
    return np.float32(np.ldexp(1.0, -frac))
