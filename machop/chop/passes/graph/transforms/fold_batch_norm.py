"""The pass that folds batch normalisation into the layer before it."""

from __future__ import annotations

import torch
from torch import Tensor, fx, nn

from chop.errors import PassError
from chop.ir import MaseGraph, QuantPlan
from chop.passes.graph.analysis.metadata import Info, PassArgs, check_args

LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


def fold_batch_norm_transform_pass(graph: MaseGraph, pass_args: PassArgs = None) -> tuple[MaseGraph, Info]:
    """Multiply every batch norm that follows a linear or convolutional layer into that layer's weights, and remove it.

    With running statistics it is an affine map for each channel: in eval mode the outputs stay the same up to the order
    of float sums. Calibration is forgotten, since activations change. Formats of layers that remain are put back.
    The info is {"folded": {norm: layer}}. Raises PassError where formats are chosen for a norm that would vanish.
    """
    check_args("fold_batch_norm", pass_args, ())
    plan = graph.plan
    graph.apply_plan(QuantPlan())
    pairs = {norm: layer for norm in graph.nodes if (layer := _layer_before(graph, norm)) is not None}
    chosen = [norm.name for norm in pairs if plan[norm.name]]
    if chosen:
        graph.apply_plan(plan)
        raise PassError(f"formats are chosen for {', '.join(chosen)}; fold first, then quantise")
    for norm, layer in pairs.items():
        _fold(graph.model.get_submodule(str(layer.target)), graph.model.get_submodule(str(norm.target)))
    graph.remove_nodes([norm.name for norm in pairs])
    graph.forget_calibration()
    graph.apply_plan(plan)
    return graph, {"folded": {norm.name: layer.name for norm, layer in pairs.items()}}


def _layer_before(graph: MaseGraph, norm: fx.Node) -> fx.Node | None:
    """The layer whose only use is this norm, both called once; None where nothing can be folded."""
    if norm.op != "call_module" or not isinstance(graph.model.get_submodule(str(norm.target)), NORMS):
        return None
    layer = norm.args[0]
    if not isinstance(layer, fx.Node) or layer.op != "call_module" or len(layer.users) != 1:
        return None
    calls = [str(node.target) for node in graph.nodes if node.op == "call_module"]
    is_layer = isinstance(graph.model.get_submodule(str(layer.target)), LAYERS)
    return layer if is_layer and calls.count(str(layer.target)) == calls.count(str(norm.target)) == 1 else None


@torch.no_grad()
def _fold(layer: nn.Module, norm: nn.Module) -> None:
    """y = (w x + b - mean) · gain + shift as one layer, computed in float64."""
    weight, bias = layer.weight, layer.bias
    assert isinstance(weight, Tensor)
    mean, variance = _double(norm.running_mean), _double(norm.running_var)
    gain = (variance + float(norm.eps)).rsqrt()  # type: ignore[arg-type]
    gain = gain * _double(norm.weight) if norm.weight is not None else gain
    shift = _double(norm.bias) if norm.bias is not None else torch.zeros_like(gain)
    old_bias = _double(bias) if bias is not None else torch.zeros_like(gain)
    folded = weight.double() * gain.reshape(-1, *[1] * (weight.ndim - 1))
    layer.weight = nn.Parameter(folded.to(weight.dtype))
    layer.bias = nn.Parameter(((old_bias - mean) * gain + shift).to(weight.dtype))


def _double(tensor: object) -> Tensor:
    assert isinstance(tensor, Tensor)
    return tensor.double()
