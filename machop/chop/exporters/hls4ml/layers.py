"""Lists the layers of a network as hls4ml builds its projects from them, each with all of its types.

hls4ml holds images with their channels last. What only moves values (a flattening, a permutation) becomes nothing: each
value knows in which order its elements lie, and the weights of the next layer are put in that order.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chop.circuits.stages import Add, Affine, Clip, Maximum, Port, Round, Select, Stage
from chop.circuits.values import Integers, Range, Values
from chop.errors import CircuitError, NodeProblem
from chop.exporters.hls4ml.types import (
    FixedType,
    sum_type,
    type_of_range,
    type_of_rounding,
    type_of_values,
    wide_source,
)
from chop.exporters.hls4ml.windows import convolution, pooling
from chop.exporters.integer_layers import IntegerLayers, Window

Json = dict[str, Any]
INPUT = "network_input"
"""The layer that takes the input."""


@dataclass(frozen=True)
class Held:
    """A value in the project: the layer that holds it, its `shape` there, and its type.

    `order[p]` is the element, counted in our own flattened tensor, that lies at position p.
    """

    layer: str
    shape: tuple[int, ...]
    order: Integers
    kind: FixedType

    @property
    def is_reordered(self) -> bool:
        """Whether its elements lie in another order than ours."""
        return not np.array_equal(self.order, np.arange(self.order.size))

    def as_held(self, own: NDArray[Any]) -> NDArray[Any]:
        """Samples of our tensor as the project has them, `(samples, elements)`."""
        found: NDArray[Any] = own.reshape(len(own), -1)[:, self.order]
        return found

    def as_ours(self, held: NDArray[Any]) -> NDArray[Any]:
        """Samples as the project has them in our order, `(samples, elements)`."""
        found = np.empty_like(held)
        found[:, self.order] = held
        return found


@dataclass(frozen=True)
class Project:
    """hls4ml's list of layers, the types of each by name, and the values that go in and come out."""

    layers: Sequence[Json]
    types: Mapping[str, Mapping[str, FixedType]]
    input: Held
    output: Held


class LayerList:
    """Lists the layers of a network; `problems` are the reasons, by node, why that is not possible."""

    def __init__(self, layers: IntegerLayers, io_type: str = "io_parallel", backend: str = "Vitis") -> None:
        self._layers = layers
        self._streams = io_type == "io_stream"
        self._sums_in_source_type = backend == "Quartus"  # which ignores the type of sums where it averages
        self._ranges = layers.network.ranges
        self._held: dict[str, Held] = {}
        self._merged: dict[str, Round] = {}
        self._listed: list[Json] = []
        self._types_by_name: dict[str, dict[str, FixedType]] = {}
        self.problems: list[str] = []
        self._find_merged()
        self._add_input()
        for stage in (*layers.front, *layers.stages):
            self._try(stage)

    @property
    def project(self) -> Project:
        """The layers as a project; there must be no problems."""
        (source,) = self._layers.inputs
        output = self._held[self._layers.stages[-1].name]
        return Project(self._listed, self._types_by_name, self._held[source], output)

    def _try(self, stage: Stage) -> None:
        if any(source not in self._held for source in self._sources(stage)):
            return  # its source has a problem
        try:
            self._held[stage.name] = self._add(stage)
        except CircuitError as error:
            self.problems.append(NodeProblem(stage.name, error))

    def _sources(self, stage: Stage) -> tuple[str, ...]:
        return (self._layers.source_of(stage),) if isinstance(stage, Port) else stage.sources

    def _find_merged(self) -> None:
        """Layers whose result is read by one rounding alone: they round themselves."""
        readers: dict[str, list[Stage]] = {}
        for stage in self._layers.stages:
            for source in stage.sources:
                readers.setdefault(source, []).append(stage)
        for stage in self._layers.stages:
            if isinstance(stage, (Affine, Add)):
                (first, *more) = readers.get(stage.name, [None])
                if isinstance(first, Round) and not first.is_relu and not more:
                    self._merged[stage.name] = first

    def _add_input(self) -> None:
        """The input, rounded as its reader does; images lie with their channels last."""
        ports = self._layers.network.ports
        kinds = []
        for port in ports:
            try:
                kinds.append(type_of_rounding(port.grid, None, self._ranges[port.name], False))
            except CircuitError as error:
                self.problems.append(NodeProblem(port.name, error))
        if len(set(kinds)) > 1:
            names = ", ".join(port.name for port in ports)
            self.problems.append(
                f"{names}: the input is rounded to several formats; choose the same one for all of them"
            )
        if self.problems:
            return
        ((name, shape),) = self._layers.inputs.items()
        order = channels_last(shape) if self._is_image(name) else np.arange(prod(shape))
        held_shape = (*shape[1:], shape[0]) if self._is_image(name) else shape
        self._list("InputLayer", INPUT, (), {"input_shape": [*held_shape]}, {"result": kinds[0]})
        self._held[name] = Held(INPUT, held_shape, order, kinds[0])

    def _is_image(self, name: str) -> bool:
        """Whether the first layer that reads a value takes channels and pixels."""
        readers = [stage for stage in (*self._layers.front, *self._layers.stages) if name in self._sources(stage)]
        first = readers[0]
        if isinstance(first, Maximum) or (isinstance(first, Affine) and self._layers.op_name(first) != "linear"):
            return len(self._layers.shapes[name]) > 1
        return isinstance(first, (Port, Round, Clip)) and self._is_image(first.name)

    def _add(self, stage: Stage) -> Held:
        adders: dict[type[Stage], Callable[[Any], Held]] = {
            Port: lambda port: self._held[self._layers.source_of(port)],
            Round: self._add_rounding,
            Affine: self._add_affine,
            Clip: self._add_clip,
            Maximum: self._add_maximum,
            Add: self._add_sum,
            Select: self._add_select,
        }
        return adders[type(stage)](stage)

    def _list(
        self,
        kind: str,
        name: str,
        sources: tuple[Held, ...],
        settings: Mapping[str, Any],
        types: Mapping[str, FixedType],
    ) -> None:
        """Put one layer on the list."""
        layer = {"class_name": kind, "name": name, "data_format": "channels_last", **settings}
        if sources:
            layer["inputs"] = [source.layer for source in sources]
        self._listed.append(layer)
        self._types_by_name[name] = dict(types)

    def _rounding_type(self, stage: Round) -> FixedType:
        return type_of_rounding(stage.grid, self._ranges[stage.sources[0]], self._ranges[stage.name], stage.is_relu)

    def _result_type(self, stage: Stage) -> FixedType:
        """The type of a layer's result: the exact one, or that of the rounding that it is merged with."""
        merged = self._merged.get(stage.name)
        return type_of_range(self._ranges[stage.name]) if merged is None else self._rounding_type(merged)

    def _add_rounding(self, stage: Round) -> Held:
        source = self._held[stage.sources[0]]
        if stage.sources[0] in self._merged:
            return source
        return self._activation(stage.name, "relu" if stage.is_relu else "linear", source, self._rounding_type(stage))

    def _activation(self, name: str, function: str, source: Held, kind: FixedType) -> Held:
        """A function of each element."""
        if function == "linear" and kind.rounding is None and kind.saturation is None and kind == source.kind:
            return source
        settings = {"activation": function, "n_in": prod(source.shape)}
        self._list("Activation", name, (source,), settings, {"result": kind})
        return replace(source, layer=name, kind=kind)

    def _add_clip(self, stage: Clip) -> Held:
        source = self._held[stage.sources[0]]
        if stage.low == 0 and stage.high is None:
            return self._activation(stage.name, "relu", source, type_of_range(self._ranges[stage.name]))
        raise CircuitError("hls4ml has no clamp between two bounds; choose a ReLU, whose format saturates")

    def _add_affine(self, stage: Affine) -> Held:
        name = self._layers.op_name(stage)
        if name == "linear":
            return self._add_linear(stage)
        if name.startswith("conv"):
            return self._add_convolution(stage)
        if name.startswith("batch_norm"):
            return self._add_norm(stage)
        return self._add_average(stage)

    def _constants(self, stage: Affine) -> tuple[Values, Values]:
        weight, bias = self._layers.constants(stage, "weight"), self._layers.constants(stage, "bias")
        assert weight is not None
        return weight, bias or Values(np.zeros(len(stage.bias), np.int64), 0)

    def _types(self, stage: Stage, **constants: Values) -> dict[str, FixedType]:
        """The types of a layer's constants, sums and result."""
        own = {name: type_of_values(values) for name, values in constants.items()}
        return {**own, "accum": type_of_range(self._ranges[stage.name]), "result": self._result_type(stage)}

    def _add_linear(self, stage: Affine) -> Held:
        source, (weight, bias) = self._held[stage.sources[0]], self._constants(stage)
        outputs, inputs = weight.codes.shape
        matrix = weight.as_float().T
        if len(stage.shape) == 1:
            matrix, source = matrix[source.order], self._shaped(stage, source, (inputs,))
        else:
            source = self._in_order(stage, source, np.arange(source.order.size), self._layers.shapes[stage.sources[0]])
        settings = {"n_in": inputs, "n_out": outputs, "weight_data": matrix, "bias_data": bias.as_float()}
        types = self._types(stage, weight=weight, bias=bias)
        self._list("Dense", stage.name, (source,), settings, types)
        return Held(stage.name, stage.shape, np.arange(prod(stage.shape)), types["result"])

    def _add_convolution(self, stage: Affine) -> Held:
        source, (weight, bias) = self._image(stage), self._constants(stage)
        kind, settings = convolution(weight.as_float(), self._layers.window(stage), source.shape, stage.shape[1:])
        types = self._types(stage, weight=weight, bias=bias)
        self._list(kind, stage.name, (source,), {**settings, "bias_data": bias.as_float()}, types)
        return self._image_result(stage, types["result"])

    def _add_average(self, stage: Affine) -> Held:
        source, window = self._image(stage), self._layers.window(stage)
        self._require_poolable(window)
        sums = sum_type(type_of_range(self._ranges[stage.name]), prod(window.kernel))
        types = {**self._types(stage), "accum": sums}
        if self._sums_in_source_type:
            wide = wide_source(source.kind, sums, max(window.kernel))
            source = self._activation(f"{stage.name}_widened", "linear", source, wide)
        kind, settings = pooling("Average", window, source.shape, stage.shape[1:])
        self._list(kind, stage.name, (source,), settings, types)
        return self._image_result(stage, types["result"])

    def _add_maximum(self, stage: Maximum) -> Held:
        source, window = self._image(stage), self._layers.window(stage)
        self._require_poolable(window)
        if any(map(any, window.padding)) and not source.kind.is_signed:
            # hls4ml pads with the bit pattern of the least number with a sign, which is the greatest without one.
            source = self._activation(
                f"{stage.name}_signed", "linear", source, replace(source.kind.with_sign, rounding=None, saturation=None)
            )
        kind, settings = pooling("Max", window, source.shape, stage.shape[1:])
        own = replace(source.kind, rounding=None, saturation=None)
        self._list(kind, stage.name, (source,), settings, {"accum": own, "result": own})
        return self._image_result(stage, own)

    def _require_poolable(self, window: Window) -> None:
        if self._streams and any(map(any, window.padding)):
            raise CircuitError("hls4ml has no pooling with padding for io_stream; choose io_type = io_parallel")

    def _add_norm(self, stage: Affine) -> Held:
        source, (weight, bias) = self._held[stage.sources[0]], self._constants(stage)
        types = self._types(stage, scale=weight, bias=bias)
        scale, shift = weight.as_float(), bias.as_float()
        if len(stage.shape) == 1:
            scale, shift, channels = scale[source.order], shift[source.order], -1
        else:
            source, channels = self._image(stage), len(scale)
        settings = {"n_in": prod(stage.shape), "n_filt": channels, "scale_data": scale, "bias_data": shift}
        self._list("BatchNormalization", stage.name, (source,), settings, types)
        return replace(source, layer=stage.name, kind=types["result"])

    def _add_sum(self, stage: Add) -> Held:
        first, second = (self._held[source] for source in stage.sources)
        if first.order.size != second.order.size:
            raise CircuitError("hls4ml adds values of one shape; repeat the smaller one in the model")
        if not np.array_equal(first.order, second.order):
            raise CircuitError("its operands lie in other orders in the project (channels first and last)")
        second = self._shaped(stage, second, first.shape)
        kind = self._result_type(stage)
        self._list(
            "Merge", stage.name, (first, second), {"op": "subtract" if stage.subtracts else "add"}, {"result": kind}
        )
        return replace(first, layer=stage.name, kind=kind)

    def _add_select(self, stage: Select) -> Held:
        """Nothing but another order; several sources are put behind each other first."""
        source = self._joined(stage)
        if len(stage.index) != len(source.order) or len(np.unique(stage.index)) != len(stage.index):
            raise CircuitError("it takes some elements and leaves others, which hls4ml has no layer for")
        place = np.empty_like(stage.index)
        place[stage.index] = np.arange(len(stage.index))
        return replace(source, order=place[source.order])

    def _joined(self, stage: Select) -> Held:
        (joined, *others) = [self._held[source] for source in stage.sources]
        for number, other in enumerate(others):
            name = f"{stage.name}_joined{number or ''}"
            parts = [self._shaped(stage, own, (own.order.size,)) for own in (joined, other)]
            kind = type_of_range(_hull([self._ranges[source] for source in stage.sources[: number + 2]]))
            self._list("Concatenate", name, tuple(parts), {"op": "concatenate1d", "axis": 1}, {"result": kind})
            order = np.concatenate([joined.order, other.order + joined.order.size])
            joined = Held(name, order.shape, order, kind)
        return joined

    def _image(self, stage: Stage) -> Held:
        """The source of a layer of images, channels last."""
        shape = self._layers.shapes[stage.sources[0]]
        return self._in_order(stage, self._held[stage.sources[0]], channels_last(shape), (*shape[1:], shape[0]))

    def _image_result(self, stage: Stage, kind: FixedType) -> Held:
        return Held(stage.name, (*stage.shape[1:], stage.shape[0]), channels_last(stage.shape), kind)

    def _in_order(self, stage: Stage, source: Held, order: Integers, shape: tuple[int, ...]) -> Held:
        if not np.array_equal(source.order, order):
            raise CircuitError("its input lies in another order in the project; leave out the permutation before it")
        return self._shaped(stage, source, shape)

    def _shaped(self, stage: Stage, source: Held, shape: tuple[int, ...]) -> Held:
        """The same elements in another shape."""
        if source.shape == shape:
            return source
        name = f"{stage.name}_from_{source.layer}"
        kind = replace(source.kind, rounding=None, saturation=None)
        self._list("Reshape", name, (source,), {"target_shape": [*shape]}, {"result": kind})
        return Held(name, shape, source.order, kind)


def channels_last(shape: tuple[int, ...]) -> Integers:
    """The elements of a tensor `(channels, …)` in the order that they have with the channels last.

    >>> channels_last((2, 3)).tolist()
    [0, 3, 1, 4, 2, 5]
    """
    found: NDArray[np.int64] = np.moveaxis(np.arange(prod(shape)).reshape(shape), 0, -1).flatten()
    return found


def _hull(ranges: list[Range]) -> Range:
    """A range that holds all elements of some."""
    frac = max(own.frac for own in ranges)
    low = np.concatenate([(own.low << (frac - own.frac)).reshape(-1) for own in ranges])
    high = np.concatenate([(own.high << (frac - own.frac)).reshape(-1) for own in ranges])
    zeros = np.concatenate([(own.zeros + (frac - own.frac)).reshape(-1) for own in ranges])
    return Range(low, high, frac, zeros)
