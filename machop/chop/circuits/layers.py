"""Makes stages of layers: constants from their formats, and the elements that each sum reads."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from chop.circuits.node_settings import Call, padding_of, spread
from chop.circuits.stages import Add, Affine, Clip, Maximum, Stage, windows
from chop.circuits.values import Integers, Values, exact_codes
from chop.errors import CircuitError
from chop.formats import Format
from chop.nn.ops import Op
from chop.passes.graph.transforms.absorb_batch_norm import has_unit_variance
from chop.weight_transforms import format_of

Shape = tuple[int, ...]
ELSEWHERE = "ch search --for onnx, ch export --to onnx"
"""Where networks without a circuit can go."""


@dataclass(frozen=True)
class Layer:
    """A node that computes with integers: its call, its formats, its parameters, the shapes of its inputs."""

    name: str
    op: Op
    call: Call
    formats: Mapping[str, Format]
    parameters: Mapping[str, Tensor]
    sources: tuple[str, ...]
    shapes: tuple[Shape, ...]
    shape: Shape
    """That of one sample's result."""

    def constants(self, operand: str) -> Values:
        """The codes of a parameter in its format; raises CircuitError where it has none."""
        chosen = self.formats.get(operand)
        if format_of(chosen) is None:
            raise CircuitError(f"its {operand} is in float; choose a format ({operand}_width) for it")
        assert chosen is not None
        try:
            return exact_codes(chosen.quantize(self.parameters[operand].detach()).double().numpy())
        except CircuitError as error:
            raise CircuitError(f"{operand}: {error}") from error

    def bias(self, outputs: int) -> Values:
        """The codes of the bias; zeros where there is none."""
        if "bias" not in self.parameters:
            return Values(np.zeros(outputs, np.int64), 0)
        return self.constants("bias")


def stages_of(layer: Layer) -> list[Stage]:
    """The stages of a node of the op table; raises CircuitError where no integer circuit computes it."""
    name = layer.op.name
    makers: dict[str, Callable[[Layer], list[Stage]]] = {
        "linear": _linear,
        "relu": _relu,
        "relu6": lambda own: [Clip(own.name, own.sources, own.shape, 0, 6)],
        "add": _sum,
        "sub": _sum,
    }
    if name in makers:
        return makers[name](layer)
    if name in ("conv1d", "conv2d", "conv3d"):
        return _convolution(layer)
    if name.startswith("batch_norm"):
        return _norm(layer)
    if name.startswith("max_pool"):
        return _max_pool(layer)
    if name.startswith(("avg_pool", "adaptive_avg_pool")):
        return _average_pool(layer)
    raise without_integer_form(name)


def without_integer_form(name: str) -> CircuitError:
    """The error for an operation that no integer circuit computes, with the cure."""
    return CircuitError(
        f"'{name}' has no exact integer form; replace it in the model ({_in_place_of(name)}), or "
        f"choose onnx, which takes other operations: {ELSEWHERE}"
    )


def _in_place_of(name: str) -> str:
    """What computes nearly the same as an operation, and has an integer form."""
    if name == "mean":
        return "a mean over positions by nn.AdaptiveAvgPool1d(1) or 2d"
    return "as activation by ReLU, ReLU6 or Hardtanh"


def _linear(layer: Layer) -> list[Stage]:
    weight = layer.constants("weight")
    outputs, inputs = weight.codes.shape
    bias = layer.bias(outputs)
    index = np.arange(math.prod(layer.shapes[0])).reshape(1, -1, inputs)
    is_last = len(layer.shape) > 1
    constants = (weight.codes[None], weight.frac, bias.codes, bias.frac, is_last)
    return [Affine(layer.name, layer.sources, layer.shape, index, *constants)]


def _convolution(layer: Layer) -> list[Stage]:
    weight = layer.constants("weight")
    outputs, inputs, *kernel = weight.codes.shape
    dims, call = len(kernel), layer.call
    groups = int(call.setting("groups", 6, 1))
    dilation = call.pair("dilation", 5, dims, 1)
    padding = padding_of(call, 4, kernel, dilation)
    plane, _ = windows(layer.shapes[0][1:], kernel, call.pair("stride", 3, dims, 1), padding, dilation)
    index = _channels(plane, groups * inputs, math.prod(layer.shapes[0][1:]), groups)
    bias = layer.bias(outputs)
    codes = weight.codes.reshape(groups, outputs // groups, -1)
    return [Affine(layer.name, layer.sources, layer.shape, index, codes, weight.frac, bias.codes, bias.frac)]


def _channels(plane: Integers, channels: int, size: int, groups: int) -> Integers:
    """Windows of one image as those of all channels: `(groups, positions, channels a group · kernel)`."""
    starts = np.arange(channels).reshape(groups, 1, -1, 1) * size
    index = np.where(plane[None, :, None, :] < 0, plane[None, :, None, :], plane[None, :, None, :] + starts)
    return index.reshape(groups, len(plane), -1)


def _norm(layer: Layer) -> list[Stage]:
    norm = layer.call.inner
    if not isinstance(norm, nn.Module) or norm.running_mean is None:
        raise CircuitError(
            "it is a batch norm without statistics of its own, or called as a function; make it a module with "
            "track_running_stats = True"
        )
    if not has_unit_variance(norm) or bool((_tensor(norm.running_mean) != 0).any()):
        raise CircuitError(
            "its statistics are in float; run the pass fold_batch_norm first, which folds a norm into the layer before "
            "it, and absorb_batch_norm for a norm without one (a search runs them by setup.passes = "
            '["fold_batch_norm", "absorb_batch_norm"] under [search.search_space])'
        )
    channels, *rest = layer.shapes[0]
    weight, bias = layer.constants("weight"), layer.bias(channels)
    index = np.arange(math.prod(layer.shapes[0])).reshape(channels, math.prod(rest), 1)
    constants = (weight.codes.reshape(channels, 1, 1), weight.frac, bias.codes, bias.frac)
    return [Affine(layer.name, layer.sources, layer.shape, index, *constants)]


def _tensor(value: object) -> Tensor:
    assert isinstance(value, Tensor)
    return value


def _relu(layer: Layer) -> list[Stage]:
    return [Clip(layer.name, layer.sources, layer.shape, 0)]


def _sum(layer: Layer) -> list[Stage]:
    if len(layer.sources) != 2:
        raise CircuitError(
            f"it adds a constant, or a parameter, in float; make it the bias of a layer, or choose onnx: {ELSEWHERE}"
        )
    if layer.call.setting("alpha", 99, 1) != 1:
        raise CircuitError("its factor alpha is in float; use 1")
    return [Add(layer.name, layer.sources, layer.shape, layer.op.name == "sub")]


def _max_pool(layer: Layer) -> list[Stage]:
    dims, call = len(layer.shapes[0]) - 1, layer.call
    kernel, dilation = call.pair("kernel_size", 1, dims, 1), call.pair("dilation", 4, dims, 1)
    stride, padding = call.setting("stride", 2, None) or kernel, call.pair("padding", 3, dims, 0)
    around, ceil = [(own, own) for own in padding], bool(call.setting("ceil_mode", 5, False))
    plane, _ = windows(layer.shapes[0][1:], kernel, spread(stride, dims), around, dilation, ceil)
    channels, size = layer.shapes[0][0], math.prod(layer.shapes[0][1:])
    index = _channels(plane, channels, size, channels).reshape(-1, plane.shape[1])
    return [Maximum(layer.name, layer.sources, layer.shape, index)]


def _average_pool(layer: Layer) -> list[Stage]:
    size = layer.shapes[0][1:]
    plane = _adaptive(layer, size) if layer.op.name.startswith("adaptive") else _fixed(layer, size)
    terms = plane.shape[1]
    if terms & (terms - 1):
        raise CircuitError(
            f"it divides by {terms}, which is no power of two; choose a window of 2^n, or choose onnx: {ELSEWHERE}"
        )
    channels = layer.shapes[0][0]
    index = _channels(plane, channels, math.prod(size), channels)
    ones, frac = np.ones((channels, 1, terms), np.int64), terms.bit_length() - 1
    return [Affine(layer.name, layer.sources, layer.shape, index, ones, frac, np.zeros(channels, np.int64), 0)]


def _fixed(layer: Layer, size: Shape) -> Integers:
    dims, call = len(size), layer.call
    kernel = call.pair("kernel_size", 1, dims, 1)
    stride, padding = call.setting("stride", 2, None) or kernel, call.pair("padding", 3, dims, 0)
    if call.setting("divisor_override", 6, None) is not None:
        raise CircuitError("its divisor is set by divisor_override; leave that out")
    if call.setting("ceil_mode", 4, False) or (any(padding) and not call.setting("count_include_pad", 5, True)):
        raise CircuitError("its divisor differs from place to place; leave out ceil_mode, or count the padding in")
    around = [(own, own) for own in padding]
    return windows(size, kernel, spread(stride, dims), around, (1,) * dims)[0]


def _adaptive(layer: Layer, size: Shape) -> Integers:
    wanted = layer.shape[1:]
    if any(own % out for own, out in zip(size, wanted, strict=True)):
        raise CircuitError(f"its windows over {size} differ in size; choose an output that divides it")
    kernel = [own // out for own, out in zip(size, wanted, strict=True)]
    return windows(size, kernel, kernel, [(0, 0)] * len(size), (1,) * len(size))[0]


def clip_of(name: str, source: str, shape: Shape, low: Any, high: Any) -> Stage:
    """A clamp between two constants; raises CircuitError for bounds that are no numbers."""
    bounds = [own for own in (low, high) if own is not None]
    if not all(isinstance(own, (int, float)) for own in bounds):
        raise CircuitError("its bounds are no constants; write them as numbers")
    codes = exact_codes(torch.tensor(bounds, dtype=torch.float32).double().numpy())
    ends = iter(codes.codes.tolist())
    first, last = (None if own is None else int(next(ends)) for own in (low, high))
    return Clip(name, (source,), shape, first, last, codes.frac)
