"""The settings of hls4ml's convolutions and poolings, whose channels come last."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from chop.errors import CircuitError
from chop.exporters.integer_layers import Window

Floats = NDArray[np.float64]
Settings = dict[str, Any]
AXES = {1: ("width",), 2: ("height", "width")}
SIDES = {1: (("left", "right"),), 2: (("top", "bottom"), ("left", "right"))}
MOST_DIMENSIONS = 2


def convolution(weight: Floats, window: Window, source: tuple[int, ...], size: tuple[int, ...]) -> tuple[str, Settings]:
    """hls4ml's class and settings of a convolution with weights `(outputs, inputs of a group, *kernel)`.

    `source` is the shape of its input, channels last, `size` that of an image of its result. Groups and dilation, which
    hls4ml does not have, become weights that are zero.
    """
    dims = _dimensions(window)
    whole = _dilated(_ungrouped(weight, window.groups), window.dilation)
    order = (*range(2, 2 + dims), 1, 0)
    settings = {
        "n_chan": source[-1],
        "n_filt": len(weight),
        "weight_data": np.ascontiguousarray(whole.transpose(order)),
        **_sizes("in", source[:-1]),
        **_sizes("out", size),
        **_sizes("filt", whole.shape[2:]),
        **_sizes("stride", window.stride),
        **_pads(window, source[:-1], whole.shape[2:], size),
    }
    return f"Conv{dims}D", settings


def pooling(operation: str, window: Window, source: tuple[int, ...], size: tuple[int, ...]) -> tuple[str, Settings]:
    """hls4ml's class and settings of a pooling, `Max` or `Average`; the padding counts in an average."""
    dims = _dimensions(window)
    if any(own > 1 for own in window.dilation):
        raise CircuitError("hls4ml has no pooling with dilation; leave it out")
    settings = {
        "n_filt": source[-1],
        "count_pad": operation == "Average",
        **_sizes("pool", window.kernel),
        **_sizes("stride", window.stride),
        **_pads(window, source[:-1], window.kernel, size),
    }
    ends = {"n_in": source[0], "n_out": size[0]} if dims == 1 else {**_sizes("in", source[:-1]), **_sizes("out", size)}
    return f"{operation}Pooling{dims}D", settings | ends


def _dimensions(window: Window) -> int:
    if len(window.kernel) > MOST_DIMENSIONS:
        raise CircuitError(f"hls4ml has no layers of {len(window.kernel)} dimensions; export it as verilog or onnx")
    return len(window.kernel)


def _sizes(what: str, numbers: tuple[int, ...]) -> Settings:
    return {f"{what}_{axis}": int(own) for axis, own in zip(AXES[len(numbers)], numbers, strict=True)}


def _pads(window: Window, source: tuple[int, ...], kernel: tuple[int, ...], size: tuple[int, ...]) -> Settings:
    """The padding; behind the image only as much as the last window reads."""
    found: Settings = {}
    sides = zip(SIDES[len(source)], window.padding, source, kernel, size, window.stride, strict=True)
    for (first, last), (before, _), length, own, count, step in sides:
        found |= {f"pad_{first}": before, f"pad_{last}": max((count - 1) * step + own - length - before, 0)}
    return found


def _ungrouped(weight: Floats, groups: int) -> Floats:
    """The weights of one group that compute what `groups` groups do."""
    outputs, inputs, *kernel = weight.shape
    whole = np.zeros((outputs, inputs * groups, *kernel))
    for group in range(groups):
        rows = slice(group * outputs // groups, (group + 1) * outputs // groups)
        whole[rows, group * inputs : (group + 1) * inputs] = weight[rows]
    return whole


def _dilated(weight: Floats, dilation: tuple[int, ...]) -> Floats:
    """The weights of a dense kernel with zeros between those of a dilated one."""
    kernel = [gap * (own - 1) + 1 for own, gap in zip(weight.shape[2:], dilation, strict=True)]
    whole = np.zeros((*weight.shape[:2], *kernel))
    whole[(slice(None), slice(None), *(slice(None, None, gap) for gap in dilation))] = weight
    return whole
