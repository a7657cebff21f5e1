"""The pass for cross-layer equalisation: gives the weights of neighbouring layers equal ranges, channel by channel."""

from __future__ import annotations

import torch
from torch import Tensor, fx, nn

from chop.ir import MaseGraph
from chop.passes.graph.analysis.metadata import Info, PassArgs, check_args
from chop.passes.graph.registry import register_pass
from chop.passes.graph.transforms.scales.groups import LAYERS, Group
from chop.passes.graph.transforms.scales.move import USUAL_ALPHA, Moving, consumers_range, move_scales, require_alpha

ROUNDS = 40


@register_pass("equalise", inputs={"dummy_in": "two_samples"}, keeps_float=True)
def equalise_transform_pass(graph: MaseGraph, pass_args: PassArgs = None) -> tuple[MaseGraph, Info]:
    """Divide output channels by scales, and multiply the weights that read them, so that the ranges of both are equal.

    For a channel with range r in the layer before and q in the layers behind it the scale is r^alpha / q^(1 - alpha),
    so that with `alpha` = 0.5 both become √(r q); again and again over all layers until that settles (Nagel et al.,
    arXiv:1906.04721, section 4.1). Between layers there may be ReLU, dropout, pooling and flattening; a norm takes part
    with its weights. `dummy_in`, {argument: a few samples}, is run before and after: the outputs in float stay the same
    to 1e-5 of the largest, or the layer is left as it is. `show = false` prints nothing.
    The info is {"moved": {layer: {"into": [layers], "scales": [least, greatest]}}, "left": {layer: why not}}.
    Raises PassError where formats are chosen already.
    """
    args = check_args("equalise", pass_args, ("dummy_in", "alpha", "show"))
    moving = Moving("equalise", _ranges, require_alpha("equalise", args.get("alpha", USUAL_ALPHA)), ROUNDS)
    return graph, move_scales(graph, moving, args.get("dummy_in"), args.get("show", True))


@torch.no_grad()
def _ranges(graph: MaseGraph, group: Group) -> tuple[Tensor, Tensor]:
    own = group.parameters[0].of(graph.model).abs()
    return own.flatten(1).amax(1) if own.ndim > 1 else own * _before(graph, group), consumers_range(graph, group)


def _before(graph: MaseGraph, group: Group) -> Tensor | float:
    """The factors of a batch norm if it were folded into the layer before it; 1 for other norms."""
    node = graph.node(group.source)
    norm = graph.inner(node)
    if not isinstance(norm, nn.modules.batchnorm._BatchNorm) or norm.running_var is None:
        return 1.0
    gain = (norm.running_var + norm.eps).rsqrt()
    before = node.all_input_nodes[0]
    return gain * _rows(graph, before) if _is_layer(graph, before) else gain


def _is_layer(graph: MaseGraph, node: fx.Node) -> bool:
    op = graph.op(node)
    return op is not None and op.name in LAYERS


def _rows(graph: MaseGraph, node: fx.Node) -> Tensor | float:
    op = graph.op(node)
    weight = graph.parameter(node, op, "weight") if op is not None else None
    return 1.0 if weight is None else weight.detach().abs().flatten(1).amax(1)
