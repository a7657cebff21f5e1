"""Decides which batch norms can be folded into the layer before them, with the reason if not."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn.modules.batchnorm import _BatchNorm

from chop.ir import MaseGraph

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
LAYERS = (nn.Linear, *CONVOLUTIONS)
NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)
KEEPS_AXIS_1 = (
    *(nn.Linear, nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.ELU, nn.GELU, nn.SiLU, nn.Sigmoid, nn.Tanh, nn.Hardtanh),
    *(nn.Dropout, nn.Identity, nn.BatchNorm1d),
)
"""Layers whose results have as many entries along axis 1 as their input, if that has more than two axes."""

WITHOUT_SAMPLES = (
    "without samples, its axis and that of the layer's outputs may differ: give dummy_in, or make the graph with "
    "example_inputs"
)
"""Why a norm is left that samples might show to be one that can be folded."""


def batch_norms(graph: MaseGraph) -> list[fx.Node]:
    """All nodes that normalise batches, as modules or as functions."""
    return [node for node in graph.nodes if isinstance(_module(graph, node), _BatchNorm) or _is_function(node)]


def layer_before(norm: fx.Node) -> fx.Node:
    """The node whose result a norm takes."""
    return norm.all_input_nodes[0]


def why_left(graph: MaseGraph, node: fx.Node, axes: int | None) -> str | None:
    """The reason why a batch norm cannot be folded into the layer before it; None if it can.

    `axes` is the number of axes of its input, None where that is not known.
    """
    return next(_reasons(graph, node, axes), None)


def _reasons(graph: MaseGraph, node: fx.Node, axes: int | None) -> Iterator[str]:
    norm = _module(graph, node)
    if norm is None:
        yield "it is called as a function"
        return
    yield from _of_norm(norm)
    before = layer_before(node)
    layer = _module(graph, before)
    if isinstance(layer, TRANSPOSED):
        yield "transposed convolutions are not folded"
    if not isinstance(layer, LAYERS):
        yield f"it follows '{before.name}', which is no linear or convolutional layer"
        return
    yield from _of_layer(layer, before.name)
    yield from _of_readers(graph, before, node)
    yield from _of_axes(graph, layer, norm, node, axes)


def _of_norm(norm: Any) -> Iterator[str]:
    if type(norm) not in NORMS or _has_hooks(norm):
        yield f"it is of a class of its own ({type(norm).__name__}) or has hooks"
    elif norm.running_mean is None or norm.running_var is None:
        yield "it has no running statistics (track_running_stats=False)"
    elif norm.training:
        yield "it is in training mode; call graph.model.eval() first"


def _of_layer(layer: nn.Module, name: str) -> Iterator[str]:
    if type(layer) not in LAYERS or _has_hooks(layer) or "weight" not in layer._parameters:
        yield f"the weight of '{name}' is made by a hook or a parametrisation: make it permanent first"


def _of_readers(graph: MaseGraph, layer: fx.Node, norm: fx.Node) -> Iterator[str]:
    """The other readers of the layer's result, its weights or the norm's tensors."""
    if len(layer.users) > 1:
        yield f"the result of '{layer.name}' is read by others too"
    for node in (layer, norm):
        if sum(other.op == "call_module" and _shares(graph, other, node) for other in graph.nodes) > 1:
            yield f"'{node.name}' is called, or its weights are used, more than once"
    read = dict.fromkeys(str(node.target) for node in graph.nodes if node.op == "get_attr")
    owned = {f"{node.target}." for node in (layer, norm)}
    storages = {tensor.untyped_storage().data_ptr() for tensor in _tensors(graph, layer)}
    for target in read:
        value = _attribute(graph.model, target)
        is_view = isinstance(value, Tensor) and value.untyped_storage().data_ptr() in storages
        if is_view or any(target.startswith(prefix) for prefix in owned):
            yield f"'{target}' is read elsewhere too"


def _shares(graph: MaseGraph, one: fx.Node, other: fx.Node) -> bool:
    """Whether two calls of modules are of the same one, or of two that hold the same tensors."""
    mine = {tensor.untyped_storage().data_ptr() for tensor in _tensors(graph, one)}
    return one.target == other.target or any(
        tensor.untyped_storage().data_ptr() in mine for tensor in _tensors(graph, other)
    )


def _tensors(graph: MaseGraph, node: fx.Node) -> list[Tensor]:
    module = graph.model.get_submodule(str(node.target))
    return [tensor for tensor in (*module.parameters(), *module.buffers()) if tensor.numel()]


def _of_axes(graph: MaseGraph, layer: nn.Module, norm: nn.Module, node: fx.Node, axes: int | None) -> Iterator[str]:
    """A norm is over axis 1, where the features of a linear layer lie for vectors alone, and channels always."""
    weight = layer.weight
    assert isinstance(weight, Tensor)
    usual = weight.ndim
    if axes is not None and axes != usual:
        yield f"it normalises axis 1 of {axes}, which is not that of the layer's outputs"
    elif norm.num_features != len(weight):
        yield f"it normalises {norm.num_features} channels, and the layer has {len(weight)} outputs"
    elif axes is None and isinstance(layer, nn.Linear) and len(_sizes_along_axis_1(graph, node)) < 2:
        yield WITHOUT_SAMPLES
    elif weight.dtype not in (torch.float32, torch.float64):
        yield f"the layer's folded values would be rounded to {str(weight.dtype).removeprefix('torch.')}"
    elif norm.running_mean is not None and norm.running_mean.dtype != weight.dtype:
        yield f"it computes in {norm.running_mean.dtype}, and the layer in {weight.dtype}"


def _sizes_along_axis_1(graph: MaseGraph, start: fx.Node) -> set[int]:
    """How many entries axis 1 would need to have for the norms around `start`, were there more than two axes.

    Two sizes contradict each other: the values are vectors.
    """
    waiting, seen = [start], {start}
    for node in waiting:
        near = [other for other in (*node.users, *node.all_input_nodes) if _keeps_axis_1(graph, other)]
        waiting += [other for other in near if other not in seen]
        seen.update(near)
    norms = [_module(graph, node) for node in seen]
    return {int(norm.num_features) for norm in norms if isinstance(norm, nn.BatchNorm1d)}


def _keeps_axis_1(graph: MaseGraph, node: fx.Node) -> bool:
    return isinstance(_module(graph, node), KEEPS_AXIS_1)


def _has_hooks(module: nn.Module) -> bool:
    return bool(module._forward_hooks or module._forward_pre_hooks)


def _is_function(node: fx.Node) -> bool:
    named = getattr(node.target, "__name__", "") if node.op == "call_function" else ""
    return "batch_norm" in named


def _module(graph: MaseGraph, node: fx.Node) -> nn.Module | None:
    return graph.model.get_submodule(str(node.target)) if node.op == "call_module" else None


def _attribute(root: nn.Module, target: str) -> object:
    owner, _, name = target.rpartition(".")
    return getattr(root.get_submodule(owner), name, None)
